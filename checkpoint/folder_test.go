package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// contents returns Files with the given texts.
func contents(texts map[string]string) Files {
	files := Files{}
	for name, text := range texts {
		files[name] = func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return err
		}
	}
	return files
}

// load opens dir and reads all its files.
func load(dir string) (map[string]string, error) {
	f, err := Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	texts := map[string]string{}
	for _, info := range f.manifest.Files {
		file, err := f.Open(info.Name)
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(file)
		file.Close()
		if err != nil {
			return nil, err
		}
		texts[info.Name] = string(text)
	}
	return texts, nil
}

// list returns the names in a folder.
func list(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func write(t *testing.T, dir string, texts map[string]string) {
	t.Helper()
	if err := Write(dir, contents(texts)); err != nil {
		t.Fatal(err)
	}
}

func wantFolder(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	got, err := load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", dir, diff)
	}
}

func TestFolderRoundTrip(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "runs", "today")
	dir := filepath.Join(parent, "model")
	type config struct{ Loss string }
	err := Write(dir, Files{
		"model.json":          JSON(config{"unified"}),
		"weights.safetensors": TensorFile([]Tensor{NewTensor("w", []float32{1, 2}, 2)}, nil),
		"empty.txt":           func(io.Writer) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"model"}, list(t, parent)); diff != "" {
		t.Errorf("left behind (-want +got):\n%s", diff)
	}
	f, err := Open(dir + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Dir() != dir || f.MadeBy() != MadeBy || !f.Has("empty.txt") || f.Has("manifest.json") {
		t.Errorf("dir %q, made by %q, files %v", f.Dir(), f.MadeBy(), f.manifest.Files)
	}
	var c config
	if err := f.ReadJSON("model.json", &c); err != nil || c.Loss != "unified" {
		t.Errorf("model.json: %v, %v", c, err)
	}
	if err := f.ReadJSON("model.json", &struct{}{}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("unknown field: %v, want ErrCorrupt", err)
	}
	w, err := f.Tensors("weights.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if got, _, err := w.Float32("w"); err != nil || !cmp.Equal(got, []float32{1, 2}) {
		t.Errorf("w = %v, %v", got, err)
	}
	if _, err := f.Open("absent"); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "absent") {
		t.Errorf("absent file: %v", err)
	}

	// An open folder stays what it was when another takes its place.
	write(t, dir, map[string]string{"model.json": `{"Loss":"bce"}`})
	if file, err := f.Open("model.json"); err == nil {
		file.Close()
		t.Error("a file of the new folder was opened through the old one")
	}
	if got, _, err := w.Float32("w"); err != nil || !cmp.Equal(got, []float32{1, 2}) {
		t.Errorf("after the replacement w = %v, %v", got, err)
	}
}

// Every single bit of a folder counts.
func TestOpenFindsEveryFlippedBit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "m")
	write(t, dir, map[string]string{"a": "some text", "b.json": "{}"})
	for _, name := range list(t, dir) {
		path := filepath.Join(dir, name)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		step := 1
		if testing.Short() {
			step = 11
		}
		for bit := 0; bit < len(good)*8; bit += step {
			bad := append([]byte(nil), good...)
			bad[bit/8] ^= 1 << (bit % 8)
			if err := os.WriteFile(path, bad, 0o666); err != nil {
				t.Fatal(err)
			}
			f, err := Open(dir)
			if err == nil {
				f.Close()
				t.Fatalf("%s: bit %d flipped (%q), no error", name, bit, bad)
			}
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) && !errors.Is(err, ErrNotModel) || !strings.Contains(err.Error(), path) {
				t.Fatalf("%s: bit %d flipped: %v, want a sentinel and the file's path", name, bit, err)
			}
		}
		if err := os.WriteFile(path, good, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	wantFolder(t, dir, map[string]string{"a": "some text", "b.json": "{}"})
}

func TestOpenRefuses(t *testing.T) {
	manifestOf := func(files ...fileInfo) func(string) error {
		return func(dir string) error {
			m := manifest{Format: formatName, Version: FormatVersion, MadeBy: "x", Files: files}
			raw, err := m.encode()
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, manifestName), raw, 0o666)
		}
	}
	manifestText := func(text string) func(string) error {
		return func(dir string) error { return os.WriteFile(filepath.Join(dir, manifestName), []byte(text), 0o666) }
	}
	emptySum := "2d06800538d394c2" // of nothing
	for name, tc := range map[string]struct {
		damage func(dir string) error
		is     error
		want   string
	}{
		"no folder":       {os.RemoveAll, ErrNotModel, "does not exist"},
		"a file":          {func(d string) error { return errors.Join(os.RemoveAll(d), os.WriteFile(d, nil, 0o666)) }, ErrNotModel, "not a folder"},
		"no manifest":     {func(d string) error { return os.Remove(d + "/manifest.json") }, ErrNotModel, "has no manifest.json"},
		"empty manifest":  {manifestText(""), ErrCorrupt, "manifest.json"},
		"binary manifest": {manifestText("\x00\x01\x02"), ErrCorrupt, "manifest.json"},
		"huge manifest":   {func(d string) error { return os.Truncate(d+"/manifest.json", 1<<40) }, ErrCorrupt, "more than 1048576 bytes"},
		"deep manifest":   {manifestText(strings.Repeat("[", 1<<19)), ErrCorrupt, "manifest.json"},
		"other JSON":      {manifestText(`{"name":"app"}`), ErrNotModel, `found format ""`},
		"other manifest":  {manifestText(`{"format":"gputrain folder","version":1}`), ErrCorrupt, "checksum"},
		"version 0":       {manifestText(`{"format":"gputrain folder","version":0}`), ErrCorrupt, "version 0"},
		"newer version": {manifestText(`{"format":"gputrain folder","version":99,"made_by":"gputrain 7.1","parts":[{}]}`), ErrVersion,
			`"gputrain 7.1" wrote format 99, this program reads up to 1; use that version or a later one`},
		"missing file":   {func(d string) error { return os.Remove(d + "/a") }, ErrCorrupt, "it is missing"},
		"short file":     {func(d string) error { return os.Truncate(d+"/a", 3) }, ErrCorrupt, "found 3 bytes, expected 9"},
		"long file":      {func(d string) error { return os.Truncate(d+"/a", 1<<40) }, ErrCorrupt, "found 1099511627776 bytes, expected 9"},
		"changed file":   {func(d string) error { return os.WriteFile(d+"/a", []byte("some teXt"), 0o666) }, ErrCorrupt, "checksum"},
		"link":           {func(d string) error { return errors.Join(os.Rename(d+"/a", d+"/c"), os.Symlink("c", d+"/a")) }, ErrCorrupt, "expected a regular file"},
		"link to itself": {func(d string) error { return errors.Join(os.Remove(d+"/a"), os.Symlink("a", d+"/a")) }, ErrCorrupt, "expected a regular file"},
		"linked manifest": {func(d string) error {
			return errors.Join(os.Rename(d+"/manifest.json", d+"/c"), os.Symlink("c", d+"/manifest.json"))
		}, ErrCorrupt, "expected a regular file"},
		"folder for file":  {func(d string) error { return errors.Join(os.Remove(d+"/a"), os.Mkdir(d+"/a", 0o777)) }, ErrCorrupt, "expected a regular file"},
		"pipe":             {func(d string) error { return errors.Join(os.Remove(d+"/a"), mkfifo(d+"/a")) }, ErrCorrupt, "expected a regular file"},
		"path upwards":     {manifestOf(fileInfo{"../outside", 0, emptySum}), ErrCorrupt, `"../outside" is not allowed`},
		"absolute path":    {manifestOf(fileInfo{"/etc/passwd", 0, emptySum}), ErrCorrupt, "is not allowed"},
		"subfolder":        {manifestOf(fileInfo{"sub/a", 0, emptySum}), ErrCorrupt, "is not allowed"},
		"Windows path":     {manifestOf(fileInfo{`C:\a`, 0, emptySum}), ErrCorrupt, "is not allowed"},
		"dot":              {manifestOf(fileInfo{".", 0, emptySum}), ErrCorrupt, "is not allowed"},
		"empty name":       {manifestOf(fileInfo{"", 0, emptySum}), ErrCorrupt, "is not allowed"},
		"hidden":           {manifestOf(fileInfo{".a", 0, emptySum}), ErrCorrupt, "is not allowed"},
		"manifest in it":   {manifestOf(fileInfo{"manifest.json", 0, emptySum}), ErrCorrupt, "is not allowed"},
		"twice":            {manifestOf(fileInfo{"a", 0, emptySum}, fileInfo{"a", 0, emptySum}), ErrCorrupt, "twice"},
		"negative size":    {manifestOf(fileInfo{"a", -1, emptySum}), ErrCorrupt, "negative"},
		"a size too large": {manifestOf(fileInfo{"a", 1 << 62, emptySum}), ErrCorrupt, "found 9 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			if err := os.WriteFile(filepath.Join(parent, "outside"), nil, 0o666); err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(parent, "m")
			write(t, dir, map[string]string{"a": "some text"})
			if err := tc.damage(dir); errors.Is(err, errors.ErrUnsupported) {
				t.Skip(err)
			} else if err != nil {
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			f, err := Open(dir)
			runtime.ReadMemStats(&after)
			if err == nil {
				f.Close()
			}
			if !errors.Is(err, tc.is) || !strings.Contains(fmt.Sprint(err), tc.want) || !strings.Contains(fmt.Sprint(err), dir) {
				t.Errorf("error %v, want %q with %q and the path", err, tc.is, tc.want)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
				t.Errorf("%d bytes allocated", used)
			}
		})
	}
}

func FuzzManifest(f *testing.F) {
	dir := filepath.Join(f.TempDir(), "m")
	if err := Write(dir, contents(map[string]string{"a": "some text"})); err != nil {
		f.Fatal(err)
	}
	path := filepath.Join(dir, manifestName)
	good, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"format":"gputrain folder","version":2,"made_by":"x"}`))
	f.Add([]byte(`{"format":"gputrain folder","version":1,"files":[{"name":"../a"}]}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(path, content, 0o666); err != nil {
			t.Fatal(err)
		}
		folder, err := Open(dir)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) && !errors.Is(err, ErrNotModel) {
				t.Fatalf("error %v, want a sentinel", err)
			}
			return
		}
		defer folder.Close()
		if !folder.Has("a") && len(folder.manifest.Files) > 0 {
			t.Fatalf("accepted %q", content)
		}
	})
}

func BenchmarkOpen100MB(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "m")
	err := Write(dir, Files{"weights.safetensors": TensorFile([]Tensor{NewTensor("w", make([]float32, 25e6), 25e6)}, nil)})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(100e6)
	for b.Loop() {
		f, err := Open(dir)
		if err != nil {
			b.Fatal(err)
		}
		w, err := f.Tensors("weights.safetensors")
		if err != nil {
			b.Fatal(err)
		}
		w.Close()
		f.Close()
	}
}
