// Package checkpoint keeps models and checkpoints on disk: folders of a few files, written so that a crash or a full disk at
// any instant leaves the old folder or the new one, and checked so that a damaged or hostile one is refused. Weights and other
// arrays are safetensors files, which Python reads in one line.
//
// A folder holds its files side by side and a manifest.json with the format's version, the program that wrote it, and the size
// and 64-bit XXH3 of each file (xxhsum -H3 prints the same). The checksums find damage, not forgery; they were chosen over a
// cryptographic hash because 100 MB are then checked in some 20 ms. The manifest ends with a checksum of itself and has one
// canonical form, so that no bit of it can change unnoticed. Files that it does not name are ignored.
//
// While DIR is written, the hidden neighbours .DIR.tmp, .DIR.old and .DIR.lock may exist; the next writer clears up what a
// crash has left of them.
package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/zeebo/xxh3"
)

// Errors that callers tell apart with errors.Is; each message names the folder or the file.
var (
	ErrNotModel = errors.New("not a model or checkpoint folder")
	ErrCorrupt  = errors.New("damaged or incomplete")
	ErrVersion  = errors.New("made by a newer version")
	ErrLocked   = errors.New("another process is writing to it")
)

// FormatVersion is the version of the folder format that this package writes, and the newest that it reads.
const FormatVersion = 1

// MadeBy goes into the manifest of each folder written, for the message of a program too old to read it. The program sets it
// to its name and version at the start.
var MadeBy = "gputrain"

const (
	manifestName = "manifest.json"
	formatName   = "gputrain folder"
	maxManifest  = 1 << 20
)

type manifest struct {
	Format   string     `json:"format"`
	Version  int        `json:"version"`
	MadeBy   string     `json:"made_by"`
	Files    []fileInfo `json:"files"`
	Checksum string     `json:"xxh3"` // of the manifest with this field empty
}

type fileInfo struct {
	Name     string `json:"name"`
	Size     int64  `json:"size"`
	Checksum string `json:"xxh3"`
}

// encode returns the manifest's canonical bytes with a fresh checksum.
func (m *manifest) encode() ([]byte, error) {
	m.Checksum = ""
	blank, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	m.Checksum = hexSum(xxh3.Hash(blank))
	full, err := json.MarshalIndent(m, "", "  ")
	return append(full, '\n'), err
}

func hexSum(sum uint64) string { return fmt.Sprintf("%016x", sum) }

// notModelError is an ErrNotModel with its reason.
type notModelError struct {
	path, reason string
	cause        error
}

func (e *notModelError) Error() string {
	return fmt.Sprintf("checkpoint: %s: %v: %s", e.path, ErrNotModel, e.reason)
}

func (e *notModelError) Unwrap() []error { return []error{ErrNotModel, e.cause} }

func corrupt(path, format string, args ...any) error {
	return fmt.Errorf("checkpoint: %s: %w: %s", path, ErrCorrupt, fmt.Sprintf(format, args...))
}

// Folder is a model or checkpoint folder whose files were found complete and undamaged. It stays the same folder even when a
// writer replaces it: files opened later are never those of the new one.
type Folder struct {
	dir      string
	root     *os.Root
	manifest *manifest
}

// Open checks every file of the folder dir against its manifest. Errors wrap ErrNotModel where there is no such folder,
// ErrVersion where it comes from a newer program, ErrCorrupt where anything is missing or changed. Open writes nothing; where a
// crash has interrupted a writer, it finds the complete folder beside.
func Open(dir string) (*Folder, error) {
	dir = filepath.Clean(dir)
	for {
		root, err := openDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			// Between the two renames of a writer that cannot swap folders, the old one is complete under this name.
			if old, oldErr := openDir(neighbour(dir, "old")); oldErr == nil {
				root, err = old, nil
			}
		}
		if err != nil {
			return nil, err
		}
		m, err := check(root)
		if err == nil {
			return &Folder{dir: dir, root: root, manifest: m}, nil
		}
		current := isCurrent(root, dir)
		root.Close()
		if current {
			return nil, err
		}
		// A writer has replaced the folder while it was read, so that its files went away: look at the new one.
	}
}

func openDir(dir string) (*os.Root, error) {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &notModelError{dir, "it does not exist", err}
	case err != nil:
		return nil, fmt.Errorf("checkpoint: %w", err)
	case !info.IsDir():
		return nil, &notModelError{dir, "it is not a folder", nil}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	return root, nil
}

// isCurrent reports whether root is still, or in place of, what lies at dir.
func isCurrent(root *os.Root, dir string) bool {
	ours, err := root.Stat(".")
	if err != nil {
		return true
	}
	there, err := os.Stat(dir)
	return err != nil || os.SameFile(ours, there)
}

// check reads the manifest of a folder and compares all files with it.
func check(root *os.Root) (*manifest, error) {
	m, err := readManifest(root)
	if err != nil {
		return nil, err
	}
	for _, want := range m.Files {
		if err := verify(root, want); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func readManifest(root *os.Root) (*manifest, error) {
	path := filepath.Join(root.Name(), manifestName)
	file, err := openRegular(root, manifestName)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &notModelError{root.Name(), "it has no " + manifestName, nil}
	case err != nil:
		return nil, err
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, maxManifest+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("checkpoint: %w", err)
	case len(raw) > maxManifest:
		return nil, corrupt(path, "more than %d bytes", maxManifest)
	}

	// A newer version may have changed everything but these fields.
	var m manifest
	if err := json.Unmarshal(raw, &struct {
		Format  *string `json:"format"`
		Version *int    `json:"version"`
		MadeBy  *string `json:"made_by"`
	}{&m.Format, &m.Version, &m.MadeBy}); err != nil {
		return nil, corrupt(path, "%v", err)
	}
	switch {
	case m.Format != formatName:
		return nil, &notModelError{path, fmt.Sprintf("found format %q, expected %q", m.Format, formatName), nil}
	case m.Version > FormatVersion:
		return nil, fmt.Errorf("checkpoint: %s: %w: %q wrote format %d, this program reads up to %d; use that version or a later one, or train again",
			path, ErrVersion, m.MadeBy, m.Version, FormatVersion)
	case m.Version < 1:
		return nil, corrupt(path, "format version %d", m.Version)
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, corrupt(path, "%v", err)
	}
	if canonical, err := m.encode(); err != nil || !bytes.Equal(canonical, raw) {
		return nil, corrupt(path, "its contents do not fit its checksum")
	}
	seen := map[string]bool{}
	for _, f := range m.Files {
		if err := checkName(f.Name); err != nil {
			return nil, corrupt(path, "%v", err)
		}
		if seen[f.Name] || f.Size < 0 {
			return nil, corrupt(path, "file %q appears twice or has a negative size", f.Name)
		}
		seen[f.Name] = true
	}
	return &m, nil
}

// checkName accepts the plain names of visible files, which cannot lead out of the folder on any system.
func checkName(name string) error {
	if !fs.ValidPath(name) || !filepath.IsLocal(name) || strings.ContainsAny(name, "/\\:\x00") || name[0] == '.' || name == manifestName {
		return fmt.Errorf("file name %q is not allowed", name)
	}
	return nil
}

// openRegular opens a file of a folder unless it is a link, a folder, a pipe or a device: these are not what a writer left, and
// could lead elsewhere or hang.
func openRegular(root *os.Root, name string) (*os.File, error) {
	info, err := root.Lstat(name)
	if err == nil && !info.Mode().IsRegular() {
		return nil, corrupt(filepath.Join(root.Name(), name), "found %v, expected a regular file", info.Mode().Type())
	}
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	file, err := root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	return file, nil
}

// verify reads a file once and compares it with the manifest.
func verify(root *os.Root, want fileInfo) error {
	path := filepath.Join(root.Name(), want.Name)
	file, err := openRegular(root, want.Name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return corrupt(path, "it is missing")
	case err != nil:
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if info.Size() != want.Size {
		return corrupt(path, "found %d bytes, expected %d", info.Size(), want.Size)
	}
	hash := xxh3.New()
	n, err := io.CopyBuffer(struct{ io.Writer }{hash}, struct{ io.Reader }{file}, make([]byte, 1<<18))
	switch {
	case err != nil:
		return fmt.Errorf("checkpoint: %w", err)
	case n != want.Size || hexSum(hash.Sum64()) != want.Checksum:
		return corrupt(path, "its contents do not fit the checksum in %s", manifestName)
	}
	return nil
}

// Close lets go of the folder; files opened from it stay open.
func (f *Folder) Close() error { return f.root.Close() }

// Dir returns the path under which the folder was opened.
func (f *Folder) Dir() string { return f.dir }

// MadeBy returns the name and version of the program that wrote the folder.
func (f *Folder) MadeBy() string { return f.manifest.MadeBy }

// Has reports whether the folder has a file of that name.
func (f *Folder) Has(name string) bool { return f.manifest.has(name) }

func (m *manifest) has(name string) bool {
	return slices.ContainsFunc(m.Files, func(f fileInfo) bool { return f.Name == name })
}

// Open opens the file called name for reading; an error that wraps ErrCorrupt if the folder has none.
func (f *Folder) Open(name string) (*os.File, error) {
	if !f.Has(name) {
		return nil, corrupt(filepath.Join(f.dir, name), "the folder has no such file")
	}
	return openRegular(f.root, name)
}

// Tensors opens the safetensors file called name; see OpenTensors.
func (f *Folder) Tensors(name string) (*File, error) {
	file, err := f.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readTensors(file)
}

// ReadJSON decodes the JSON file called name into v. An unknown field or anything after the value is an ErrCorrupt: the file is
// as it was written, so another program wrote it. (Whoever adds a field raises FormatVersion.)
func (f *Folder) ReadJSON(name string, v any) error {
	file, err := f.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	dec := json.NewDecoder(file)
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return corrupt(file.Name(), "%v", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return corrupt(file.Name(), "more follows the first JSON value")
	}
	return nil
}
