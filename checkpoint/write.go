package checkpoint

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/zeebo/xxh3"
)

// Files gives for each file name of a folder the function that writes its contents.
type Files map[string]func(io.Writer) error

// JSON returns a function for Files that writes v as indented JSON.
func JSON(v any) func(io.Writer) error {
	return func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	}
}

// TensorFile returns a function for Files that writes a safetensors file.
func TensorFile(tensors []Tensor, metadata map[string]string) func(io.Writer) error {
	return func(w io.Writer) error { return WriteTensors(w, tensors, metadata) }
}

// neighbour returns the hidden path beside dir that serves the given purpose.
func neighbour(dir, purpose string) string {
	return filepath.Join(filepath.Dir(dir), "."+filepath.Base(dir)+"."+purpose)
}

// Target is a folder that only this process may write to, until it is unlocked.
type Target struct {
	dir  string
	fs   fileSystem
	lock *os.File
}

// Lock reserves the folder dir for this process, and creates the folders above it. Take it at the start of a training: it finds
// out early what would make the write at the end fail. It returns an error that wraps ErrLocked where another process has it,
// and ErrNotModel where dir holds something else than a folder of this package, which a write would destroy.
func Lock(dir string) (*Target, error) {
	dir, err := resolve(dir)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	t := &Target{dir: dir, fs: disk{}}
	if err := mkdirAll(t.fs, filepath.Dir(dir)); err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	if err := t.acquire(); err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	if err := checkReplaceable(dir); err != nil {
		return nil, errors.Join(err, t.Unlock())
	}
	return t, nil
}

// resolve returns the absolute path of dir without symbolic links: a rename would replace the link, not the folder.
func resolve(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if target, err := filepath.EvalSymlinks(dir); err == nil {
		dir = target
	}
	if dir == filepath.Dir(dir) {
		return "", fmt.Errorf("%s: the root cannot be replaced; name a folder in it", dir)
	}
	return dir, nil
}

// mkdirAll creates dir and the folders above it, durably.
func mkdirAll(fsys fileSystem, dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := mkdirAll(fsys, parent); err != nil {
			return err
		}
	}
	if err := fsys.Mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return fsys.SyncDir(parent)
}

// acquire locks the lock file. Unlock removes the file while it has the lock, so that a lock counts only if the file is still
// in its place afterwards.
func (t *Target) acquire() error {
	path := neighbour(t.dir, "lock")
	for {
		lock, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
		if err != nil {
			return err
		}
		ok, err := flock(lock)
		if err != nil || !ok {
			lock.Close()
			if err == nil {
				err = ErrLocked
			}
			return fmt.Errorf("%s: %w", t.dir, err)
		}
		ours, err := lock.Stat()
		if there, statErr := os.Stat(path); err == nil && statErr == nil && os.SameFile(ours, there) {
			t.lock = lock
			return nil
		}
		lock.Close()
	}
}

// Unlock lets other processes write to the folder again.
func (t *Target) Unlock() error {
	return errors.Join(os.Remove(t.lock.Name()), t.lock.Close())
}

// checkReplaceable refuses what a write to dir would destroy or could not replace.
func checkReplaceable(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("checkpoint: %w", err)
	case isMount(dir):
		return fmt.Errorf("checkpoint: %s is a mount point, which cannot be replaced; name a folder in it", dir)
	case len(entries) == 0:
		return nil
	}
	root, err := openDir(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if _, err := readManifest(root); err != nil && !errors.Is(err, ErrVersion) {
		return fmt.Errorf("%w; move it away or choose another folder, nothing was changed", err)
	}
	return nil
}

// Write locks dir, writes it and unlocks it; see Lock and Target.Write.
func Write(dir string, files Files) (err error) {
	t, err := Lock(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Unlock()) }()
	return t.Write(files)
}

// Write writes the folder, which takes the place of an earlier one in one step: whenever the program or the machine stops, and
// whatever error is returned, Open finds the old folder or the new one, complete. After a nil error it is the new one, on disk.
// What others have put into the old folder moves to the new one.
func (t *Target) Write(files Files) error { return writeFolder(t.fs, t.dir, files) }

func writeFolder(fsys fileSystem, dir string, files Files) error {
	tmp, old := neighbour(dir, "tmp"), neighbour(dir, "old")
	if err := clearUp(fsys, dir); err != nil {
		return fmt.Errorf("checkpoint: clear up after an interrupted write: %w", err)
	}
	if err := fill(fsys, tmp, files); err != nil {
		_ = fsys.RemoveAll(tmp) // what stays is cleared up by the next writer
		return fmt.Errorf("checkpoint: write %s: %w", dir, err)
	}
	replaced, err := swap(fsys, tmp, dir, old)
	if err != nil {
		_ = fsys.RemoveAll(tmp)
		return fmt.Errorf("checkpoint: write %s: %w", dir, err)
	}
	if err := fsys.SyncDir(filepath.Dir(dir)); err != nil {
		return fmt.Errorf("checkpoint: write %s: %w", dir, err) // the replaced folder stays, in case the swap did not last
	}
	_ = discard(fsys, replaced, dir) // as above
	return nil
}

// clearUp removes what a crash has left of an earlier write, after putting back a folder that was on its way out.
func clearUp(fsys fileSystem, dir string) error {
	tmp, old := neighbour(dir, "tmp"), neighbour(dir, "old")
	if !exists(old) && !exists(tmp) {
		return nil
	}
	if exists(old) && !exists(dir) {
		if err := fsys.Rename(old, dir); err != nil {
			return err
		}
	}
	if err := fsys.SyncDir(filepath.Dir(dir)); err != nil { // dir must last before its rivals go
		return err
	}
	if err := discard(fsys, old, dir); err != nil {
		return err
	}
	return discard(fsys, tmp, dir)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// discard removes a folder that dir has replaced. Entries that its manifest does not name move to dir.
func discard(fsys fileSystem, folder, dir string) error {
	if !exists(folder) {
		return nil
	}
	if err := moveForeign(fsys, folder, dir); err != nil {
		return err
	}
	return fsys.RemoveAll(folder)
}

// moveForeign moves what others have put into a complete folder to dir, where the names are free. A folder without a readable
// manifest was never complete, and nobody but its writer knew its name.
func moveForeign(fsys fileSystem, folder, dir string) error {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer root.Close()
	m, err := readManifest(root)
	if err != nil || !exists(dir) {
		return nil
	}
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		to := filepath.Join(dir, e.Name())
		if e.Name() == manifestName || m.has(e.Name()) || exists(to) {
			continue
		}
		if err := fsys.Rename(filepath.Join(folder, e.Name()), to); err != nil {
			return err
		}
	}
	return nil
}

// fill creates the folder tmp with the files and their manifest, durably.
func fill(fsys fileSystem, tmp string, files Files) error {
	if err := fsys.Mkdir(tmp); err != nil {
		return err
	}
	m := manifest{Format: formatName, Version: FormatVersion, MadeBy: strings.ToValidUTF8(MadeBy, "?"), Files: []fileInfo{}}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := checkName(name); err != nil {
			return err
		}
		size, sum, err := create(fsys, filepath.Join(tmp, name), files[name])
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		m.Files = append(m.Files, fileInfo{Name: name, Size: size, Checksum: hexSum(sum)})
	}
	raw, err := m.encode()
	if err != nil {
		return err
	}
	if len(raw) > maxManifest {
		return fmt.Errorf("%d files are too many", len(m.Files))
	}
	if _, _, err := create(fsys, filepath.Join(tmp, manifestName), func(w io.Writer) error {
		_, err := w.Write(raw)
		return err
	}); err != nil {
		return fmt.Errorf("%s: %w", manifestName, err)
	}
	return fsys.SyncDir(tmp)
}

// create writes one file durably, and returns the size and the checksum of what was meant to be written.
func create(fsys fileSystem, path string, write func(io.Writer) error) (size int64, sum uint64, err error) {
	f, err := fsys.Create(path)
	if err != nil {
		return 0, 0, err
	}
	defer func() {
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
	}()
	out := &summing{file: f, hash: xxh3.New()}
	buf := bufio.NewWriterSize(out, 1<<16)
	if err := write(buf); err != nil {
		return 0, 0, err
	}
	if err := buf.Flush(); err != nil {
		return 0, 0, err
	}
	return out.size, out.hash.Sum64(), f.Sync()
}

// summing counts and hashes what is written to a file.
type summing struct {
	file file
	hash *xxh3.Hasher
	size int64
}

func (s *summing) Write(p []byte) (int, error) {
	n, err := s.file.Write(p)  // bufio notices a short one
	_, _ = s.hash.Write(p[:n]) // never fails
	s.size += int64(n)
	return n, err
}

// swap puts the folder tmp in the place of dir, and returns where the folder is that was there. On an error dir is as it was.
func swap(fsys fileSystem, tmp, dir, old string) (replaced string, err error) {
	if !exists(dir) {
		return old, fsys.Rename(tmp, dir)
	}
	err = fsys.Exchange(tmp, dir)
	if !errors.Is(err, errors.ErrUnsupported) {
		return tmp, err
	}
	if err := fsys.Rename(dir, old); err != nil {
		return "", err
	}
	if err := fsys.Rename(tmp, dir); err != nil {
		_ = fsys.Rename(old, dir) // if this fails too, Open and the next writer know the old name
		return "", err
	}
	return old, nil
}
