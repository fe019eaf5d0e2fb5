package classifier

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"gputrain/backend"
	"gputrain/checkpoint"
	"gputrain/data"
	"gputrain/decide"
	"gputrain/features"
	"gputrain/model"
	"gputrain/sparse"
)

// The files of a model folder.
const (
	modelFile        = "model.json"
	labelsFile       = "labels.txt"
	featuresFile     = "features.json"
	featuresDataFile = "features.safetensors"
	weightsFile      = "weights.safetensors"
	countsTensor     = "label_counts"
)

// document is model.json.
type document struct {
	Info  Info         `json:"info"`
	Rule  decide.Rule  `json:"decision"`
	Model model.Config `json:"model"`
}

// Save writes the model folder, in one step: an earlier model there stays whole until the new one is.
func (c *Classifier) Save(dir string) error {
	files, err := c.Files()
	if err != nil {
		return err
	}
	return checkpoint.Write(dir, files)
}

// ErrNotFinite reports a model with a weight that is NaN or infinite, which is never kept.
var ErrNotFinite = errors.New("a weight is not a finite number")

func finite(weights []model.Tensor) bool {
	for _, t := range weights {
		values, _ := t.Data.([]float32)
		for _, v := range values {
			if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
				return false
			}
		}
	}
	return true
}

// Files returns the files of the model folder, or ErrNotFinite.
func (c *Classifier) Files() (checkpoint.Files, error) {
	weights, err := c.Model.Weights()
	if err != nil {
		return nil, err
	}
	if !finite(weights) {
		return nil, ErrNotFinite
	}
	tensors, err := Tensors(weights)
	if err != nil {
		return nil, err
	}
	labels, err := data.NewVocabulary(c.Labels)
	if err != nil {
		return nil, err
	}
	tensors = append(tensors, checkpoint.NewTensor(countsTensor, c.LabelCounts, len(c.LabelCounts)))
	files := checkpoint.Files{
		modelFile:   checkpoint.JSON(document{c.Info, c.Rule, c.Model.Config()}),
		weightsFile: checkpoint.TensorFile(tensors, nil),
		labelsFile:  func(w io.Writer) error { _, err := labels.WriteTo(w); return err },
	}
	if c.Encoder != nil {
		config, state, err := c.Encoder.State()
		if err != nil {
			return nil, err
		}
		tensors, err := stateTensors(state)
		if err != nil {
			return nil, err
		}
		files[featuresFile] = func(w io.Writer) error { _, err := w.Write(config); return err }
		files[featuresDataFile] = checkpoint.TensorFile(tensors, nil)
	}
	return files, nil
}

// Tensors converts a model's host copies for checkpoint.
func Tensors(in []model.Tensor) ([]checkpoint.Tensor, error) {
	out := make([]checkpoint.Tensor, 0, len(in)+1)
	for _, t := range in {
		c, err := newTensor(t.Name, t.Data, t.Shape)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func stateTensors(state map[string]any) ([]checkpoint.Tensor, error) {
	var out []checkpoint.Tensor
	for name, data := range state {
		t, err := newTensor(name, data, nil)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

// newTensor makes a checkpoint tensor of a slice; a nil shape means one dimension.
func newTensor(name string, data any, shape []int) (checkpoint.Tensor, error) {
	switch d := data.(type) {
	case []float32:
		return typed(name, d, shape), nil
	case []int32:
		return typed(name, d, shape), nil
	case []int64:
		return typed(name, d, shape), nil
	case []uint64:
		return typed(name, d, shape), nil
	case []uint8:
		return typed(name, d, shape), nil
	}
	return checkpoint.Tensor{}, fmt.Errorf("classifier: tensor %q of unknown type %T", name, data)
}

func typed[E checkpoint.Element](name string, data []E, shape []int) checkpoint.Tensor {
	if shape == nil {
		shape = []int{len(data)}
	}
	return checkpoint.NewTensor(name, data, shape...)
}

// LookupIn finds the tensors of open files by name, for model.Restore and ModelFrom.
func LookupIn(files ...*checkpoint.File) model.Lookup {
	return func(name string) (any, bool) {
		for _, f := range files {
			if t, err := f.Tensor(name); err == nil {
				data, err := values(f, name, t.DType)
				return data, err == nil
			}
		}
		return nil, false
	}
}

// LookupAmong finds host copies by name.
func LookupAmong(tensors []model.Tensor) model.Lookup {
	return func(name string) (any, bool) {
		for _, t := range tensors {
			if t.Name == name {
				return t.Data, true
			}
		}
		return nil, false
	}
}

// Load reads a model folder and builds its model on the device. Errors wrap checkpoint.ErrNotModel, ErrCorrupt or ErrVersion where
// the folder is at fault.
func Load(dir string, dev backend.Device) (*Classifier, error) {
	folder, err := checkpoint.Open(dir)
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	c := &Classifier{}
	if err := c.load(folder, dev); err != nil {
		c.Close()
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return c, nil
}

func (c *Classifier) load(folder *checkpoint.Folder, dev backend.Device) error {
	var doc document
	if err := folder.ReadJSON(modelFile, &doc); err != nil {
		return err
	}
	if err := doc.Model.Validate(); err != nil {
		return corrupt(err)
	}
	if err := doc.Rule.Validate(doc.Model.Labels); err != nil {
		return corrupt(err)
	}
	c.Info, c.Rule = doc.Info, doc.Rule
	var err error
	if c.Labels, err = readLabels(folder); err != nil {
		return err
	}
	if len(c.Labels) != doc.Model.Labels {
		return corrupt(fmt.Errorf("%d labels for a model of %d", len(c.Labels), doc.Model.Labels))
	}
	if folder.Has(featuresFile) {
		if err := c.readEncoder(folder); err != nil {
			return err
		}
	}
	weights, err := folder.Tensors(weightsFile)
	if err != nil {
		return err
	}
	defer weights.Close()
	counts, _, err := weights.Int64(countsTensor)
	if err != nil {
		return err
	}
	if len(counts) != len(c.Labels) {
		return corrupt(fmt.Errorf("counts of %d labels for a model of %d", len(counts), len(c.Labels)))
	}
	c.LabelCounts = slices.Clone(counts)
	for i, p := range doc.Model.Parts {
		if p.Sparse() && (c.Encoder == nil || c.Encoder.Features() != p.Inputs) {
			return corrupt(fmt.Errorf("part %d reads %d features, which features.json does not make", i, p.Inputs))
		}
	}
	c.Model, err = ModelFrom(dev, doc.Model, nil, LookupIn(weights), 0)
	return err
}

func corrupt(err error) error { return fmt.Errorf("%w: %w", checkpoint.ErrCorrupt, err) }

// ModelFrom builds a model with the weights, and with steps > 0 also the optimiser state, that find finds. The sparse weights of part
// i keep all places of patterns[i], if there is one, and else only those that are stored.
func ModelFrom(dev backend.Device, cfg model.Config, patterns []*sparse.CSR, find model.Lookup, steps int64) (*model.Model, error) {
	tables := make([]*sparse.CSR, len(cfg.Parts))
	for i, p := range cfg.Parts {
		if p.Kind != model.Table {
			continue
		}
		w, err := findCSR(find, fmt.Sprintf("part%d", i), p.Inputs, cfg.Labels)
		if err != nil {
			return nil, err
		}
		if i < len(patterns) && patterns[i] != nil {
			if w, err = spread(patterns[i], w); err != nil {
				return nil, err
			}
		}
		tables[i] = w
	}
	m, err := model.New(dev, cfg, tables, nil)
	if err != nil {
		return nil, err
	}
	if err := m.Restore(find, steps); err != nil {
		m.Close()
		return nil, corrupt(err)
	}
	return m, nil
}

// findCSR puts together sparse weights, features × labels, as model.Weights names them.
func findCSR(find model.Lookup, name string, features, labels int) (*sparse.CSR, error) {
	indptr, _ := find(name + ".indptr")
	indices, _ := find(name + ".indices")
	values, _ := find(name + ".values")
	w := &sparse.CSR{Cols: labels}
	var ok [3]bool
	w.Indptr, ok[0] = indptr.([]int64)
	w.Indices, ok[1] = indices.([]int32)
	w.Values, ok[2] = values.([]float32)
	if ok != [3]bool{true, true, true} {
		return nil, fmt.Errorf("%w: sparse weights %q are missing or of a wrong type", checkpoint.ErrCorrupt, name)
	}
	if err := w.Check(); err != nil {
		return nil, corrupt(fmt.Errorf("%s: %w", name, err))
	}
	if w.Rows() != features {
		return nil, corrupt(fmt.Errorf("%s: sparse weights of %d features, want %d", name, w.Rows(), features))
	}
	return w, nil
}

// spread returns the pattern with the values of w, and zeros where w has none.
func spread(pattern, w *sparse.CSR) (*sparse.CSR, error) {
	out := &sparse.CSR{Cols: pattern.Cols, Indptr: pattern.Indptr, Indices: pattern.Indices, Values: make([]float32, pattern.NNZ())}
	for f := range w.Rows() {
		ids, values := w.Row(f)
		places, _ := pattern.Row(f)
		at := 0
		for q, k := range ids {
			for at < len(places) && places[at] < k {
				at++
			}
			if at == len(places) || places[at] != k {
				return nil, fmt.Errorf("%w: a weight of feature %d and label %d, which do not occur together in the data", checkpoint.ErrCorrupt, f, k)
			}
			out.Values[pattern.Indptr[f]+int64(at)] = values[q]
		}
	}
	return out, nil
}

func readLabels(folder *checkpoint.Folder) ([]string, error) {
	f, err := folder.Open(labelsFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	labels, err := data.NewVocabulary(strings.Split(strings.TrimSuffix(string(text), "\n"), "\n"))
	if err != nil {
		return nil, corrupt(fmt.Errorf("%s: %w", labelsFile, err))
	}
	return labels.Names(), nil
}

// readEncoder leaves the file of tensors open until Close: the encoder keeps views of them.
func (c *Classifier) readEncoder(folder *checkpoint.Folder) error {
	f, err := folder.Open(featuresFile)
	if err != nil {
		return err
	}
	defer f.Close()
	config, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	if c.features, err = folder.Tensors(featuresDataFile); err != nil {
		return err
	}
	tensors := map[string]any{}
	for _, name := range c.features.Names() {
		t, err := c.features.Tensor(name)
		if err != nil {
			return err
		}
		if tensors[name], err = values(c.features, name, t.DType); err != nil {
			return corrupt(err)
		}
	}
	if c.Encoder, err = features.FromState(config, tensors); err != nil {
		return corrupt(err)
	}
	return nil
}

// values returns a view of a tensor's elements.
func values(f *checkpoint.File, name string, t checkpoint.DType) (any, error) {
	switch t {
	case checkpoint.F32:
		return slice(f.Float32(name))
	case checkpoint.I32:
		return slice(f.Int32(name))
	case checkpoint.I64:
		return slice(f.Int64(name))
	case checkpoint.U64:
		return slice(f.Uint64(name))
	case checkpoint.U8:
		return slice(f.Uint8(name))
	}
	return nil, fmt.Errorf("tensor %q has the type %s", name, t)
}

func slice[E any](s []E, _ []int, err error) (any, error) { return s, err }
