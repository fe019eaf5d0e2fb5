package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// Keep is a folder of checkpoints, epoch-0001, epoch-0002 and so on, of which it keeps the last few and the best. One process
// may use it at a time; the Lock of the model that is trained sees to that.
type Keep struct {
	Dir  string
	Last int // how many of the newest checkpoints stay, at least 1

	fs fileSystem // nil: the disk
}

// Path returns the folder of an epoch's checkpoint.
func (k Keep) Path(epoch int) string { return filepath.Join(k.Dir, fmt.Sprintf("epoch-%04d", epoch)) }

// Write writes the checkpoint of an epoch, and then removes all but that, the newest before it up to Last in all, and the
// checkpoint of the epoch best. Checkpoints of later epochs go too: they belong to a training that was given up when this one
// resumed further back.
func (k Keep) Write(epoch, best int, files Files) error {
	if epoch < 0 {
		return fmt.Errorf("checkpoint: epoch %d is negative", epoch)
	}
	fsys := k.fs
	if fsys == nil {
		fsys = disk{}
	}
	if err := mkdirAll(fsys, k.Dir); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if err := writeFolder(fsys, k.Path(epoch), files); err != nil {
		return err
	}

	epochs, err := listEpochs(k.Dir)
	if err != nil {
		return err
	}
	kept := 0
	for _, e := range epochs { // newest first
		if e <= epoch && kept < max(k.Last, 1) {
			kept++
			continue
		}
		if e != best || e > epoch {
			for _, path := range []string{k.Path(e), neighbour(k.Path(e), "old"), neighbour(k.Path(e), "tmp")} {
				err = errors.Join(err, fsys.RemoveAll(path))
			}
		}
	}
	if err != nil {
		return fmt.Errorf("checkpoint: remove old checkpoints: %w", err)
	}
	return nil
}

// epochName matches a checkpoint's folder, and what it is called while it is replaced.
var epochName = regexp.MustCompile(`^(?:epoch-(\d{4,9})|\.epoch-(\d{4,9})\.(?:old|tmp))$`)

// listEpochs returns the epochs of which dir holds a checkpoint or the remains of one, newest first.
func listEpochs(dir string) ([]int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	var epochs []int
	for _, e := range entries {
		if m := epochName.FindStringSubmatch(e.Name()); m != nil {
			epoch, err := strconv.Atoi(m[1] + m[2])
			if err == nil {
				epochs = append(epochs, epoch)
			}
		}
	}
	slices.Sort(epochs)
	slices.Reverse(epochs)
	return slices.Compact(epochs), nil
}

// Latest opens the newest checkpoint that is complete and undamaged. It says in skipped what was wrong with those that are
// newer; the error wraps ErrNotModel where none is left.
func (k Keep) Latest() (f *Folder, epoch int, skipped []error, err error) {
	epochs, err := listEpochs(k.Dir)
	if err != nil {
		return nil, 0, nil, err
	}
	for _, epoch := range epochs {
		f, err := Open(k.Path(epoch))
		if err == nil {
			return f, epoch, skipped, nil
		}
		skipped = append(skipped, err)
	}
	return nil, 0, skipped, fmt.Errorf("checkpoint: %s: %w: no loadable checkpoint", k.Dir, ErrNotModel)
}

// Remove removes all checkpoints, and the folder if nothing else is in it.
func (k Keep) Remove() error {
	epochs, err := listEpochs(k.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range epochs {
		err = errors.Join(err, os.RemoveAll(k.Path(e)))
	}
	_ = os.Remove(k.Dir) // fails where something else is in it
	return err
}
