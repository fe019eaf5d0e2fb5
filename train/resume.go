package train

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/zeebo/xxh3"
	"gorgonia.org/tensor"

	"gputrain/checkpoint"
	"gputrain/classifier"
	"gputrain/model"
	"gputrain/sparse"
)

// The files of a checkpoint folder.
const (
	stateFile     = "checkpoint.json"
	weightsFile   = "weights.safetensors"
	optimizerFile = "optimizer.safetensors"
	bestFile      = "best.safetensors"   // the best weights of the phase so far
	earlierFile   = "chosen.safetensors" // the best weights of the phases before
)

// state is what a checkpoint holds beside weights: what the run was given, the phases that are done, and the position in the
// next one.
type state struct {
	Options  Options   `json:"options"`
	Data     string    `json:"data"` // fingerprint
	Done     []outcome `json:"done"`
	Position position  `json:"position"`
	Steps    int64     `json:"steps"` // of the model
	Timed    bool      `json:"timed"` // the best weights are kept, in case that the time is up
}

// checkpoint writes where a phase is.
func (r *runner) checkpoint(at position) error {
	s := r.state
	s.Options, s.Data, s.Position, s.Steps, s.Timed = r.opt, r.fingerprint(), at, r.cls.Model.Steps(), r.opt.MaxTime > 0
	weights, err := r.cls.Model.Weights()
	if err != nil {
		return err
	}
	optimizer, err := r.cls.Model.State()
	if err != nil {
		return err
	}
	files := checkpoint.Files{stateFile: checkpoint.JSON(s)}
	for name, tensors := range map[string][]model.Tensor{weightsFile: weights, optimizerFile: optimizer, bestFile: at.weights, earlierFile: r.best} {
		t, err := classifier.Tensors(tensors)
		if err != nil {
			return err
		}
		files[name] = checkpoint.TensorFile(t, nil)
	}
	n := at.Epoch + 1
	for _, o := range s.Done {
		n += o.Epochs
	}
	if err := r.checkpoints.Write(n, 0, files); err != nil {
		return err
	}
	r.note("checkpoint", "%s", r.checkpoints.Path(n))
	return nil
}

// resume reads the newest checkpoint.
func (r *runner) resume() error {
	if !r.opt.Resume {
		return nil
	}
	folder, _, skipped, err := r.checkpoints.Latest()
	for _, bad := range skipped {
		r.note("warning", "checkpoint passed over: %v", bad)
	}
	if err != nil {
		return err
	}
	if err := r.readState(folder); err != nil {
		folder.Close()
		return err
	}
	r.resumed = folder
	r.note("checkpoint", "going on from %s", folder.Dir())
	return nil
}

// readState reads all but the model, and refuses a checkpoint of another training.
func (r *runner) readState(folder *checkpoint.Folder) (err error) {
	if err := folder.ReadJSON(stateFile, &r.state); err != nil {
		return err
	}
	if r.state.Data != r.fingerprint() {
		return fmt.Errorf("%w: %s was written for other data; give the same files, or train without --resume", checkpoint.ErrNotModel, folder.Dir())
	}
	was, _ := json.Marshal(r.state.Options)
	now, _ := json.Marshal(r.opt)
	if !bytes.Equal(was, now) {
		return fmt.Errorf("%w: %s was written with other options: %s, now %s", checkpoint.ErrNotModel, folder.Dir(), was, now)
	}
	if r.opt.MaxTime > 0 && !r.state.Timed {
		return fmt.Errorf("%w: %s has no best weights to end with when the time is up: go on without --max-time, as the training began", checkpoint.ErrNotModel, folder.Dir())
	}
	r.best, err = readTensors(folder, earlierFile)
	return err
}

// restore builds the model as the checkpoint has it, and sets the position.
func (r *runner) restore(cfg model.Config, patterns []*sparse.CSR, at *position) (*model.Model, error) {
	folder := r.resumed
	r.resumed = nil
	defer folder.Close()
	*at = r.state.Position
	var err error
	if at.weights, err = readTensors(folder, bestFile); err != nil {
		return nil, err
	}
	weights, err := folder.Tensors(weightsFile)
	if err != nil {
		return nil, err
	}
	defer weights.Close()
	optimizer, err := folder.Tensors(optimizerFile)
	if err != nil {
		return nil, err
	}
	defer optimizer.Close()
	return classifier.ModelFrom(r.dev, cfg, patterns, classifier.LookupIn(weights, optimizer), r.state.Steps)
}

// readTensors copies the tensors of a file; nil if it has none.
func readTensors(folder *checkpoint.Folder, name string) ([]model.Tensor, error) {
	f, err := folder.Tensors(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	find := classifier.LookupIn(f)
	var out []model.Tensor
	for _, n := range f.Names() {
		t, err := f.Tensor(n)
		if err != nil {
			return nil, err
		}
		data, ok := find(n)
		if !ok {
			return nil, fmt.Errorf("%w: %s: tensor %q of type %s", checkpoint.ErrCorrupt, name, n, t.DType)
		}
		switch d := data.(type) { // views end with the file
		case []float32:
			data = slices.Clone(d)
		case []int32:
			data = slices.Clone(d)
		case []int64:
			data = slices.Clone(d)
		}
		out = append(out, model.Tensor{Name: n, Shape: t.Shape, Data: data})
	}
	return out, nil
}

// fingerprint tells training data, and validation data of their own, apart.
func (r *runner) fingerprint() string {
	if r.hash != "" {
		return r.hash
	}
	h := xxh3.New()
	matrices, vectors := []*sparse.CSR{r.enc.X, r.y}, []*tensor.Dense{r.enc.V}
	if r.valid != nil && !r.split {
		matrices, vectors = append(matrices, r.valid.enc.X, r.valid.truth), append(vectors, r.valid.enc.V)
	}
	for _, m := range matrices {
		if m == nil {
			continue
		}
		_ = binary.Write(h, binary.LittleEndian, int64(m.Cols))
		_ = binary.Write(h, binary.LittleEndian, m.Indptr)
		_ = binary.Write(h, binary.LittleEndian, m.Indices)
		_ = binary.Write(h, binary.LittleEndian, m.Values)
	}
	for _, v := range vectors {
		if v != nil {
			_ = binary.Write(h, binary.LittleEndian, v.Float32s())
		}
	}
	for _, l := range r.cls.Labels {
		_, _ = h.WriteString(l + "\n")
	}
	r.hash = fmt.Sprintf("%016x", h.Sum64())
	return r.hash
}
