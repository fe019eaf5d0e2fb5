package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// faulty is a fileSystem over the disk that fails at one call, and, if dead, at all later ones too, as if the process had
// been killed there. It remembers how to undo what no sync has made durable, to play a power cut.
type faulty struct {
	failAt     int // the number of the call, from 1; 0 for never
	err        error
	short      bool // a failing write writes half
	dead       bool
	noExchange bool
	graveyard  string // where removed folders go, so that the removal can be undone

	calls []string
	undo  []undoable // newest last
}

type undoable struct {
	dir  string // whose sync makes it durable
	undo func() error
}

// call counts a call, and returns the error that it fails with.
func (f *faulty) call(format string, args ...any) error {
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
	if n := len(f.calls); f.failAt > 0 && (n == f.failAt || n > f.failAt && f.dead) {
		return &os.PathError{Op: "fault", Path: f.calls[n-1], Err: f.err}
	}
	return nil
}

// done notes a change to the folder dir that a power cut may undo.
func (f *faulty) done(err error, dir string, undo func() error) error {
	if err == nil {
		f.undo = append(f.undo, undoable{dir, undo})
	}
	return err
}

func (f *faulty) synced(dir string) {
	f.undo = slices.DeleteFunc(f.undo, func(u undoable) bool { return u.dir == dir })
}

func (f *faulty) Mkdir(name string) error {
	if err := f.call("mkdir %s", filepath.Base(name)); err != nil {
		return err
	}
	return f.done(disk{}.Mkdir(name), filepath.Dir(name), func() error { return os.RemoveAll(name) })
}

func (f *faulty) Create(name string) (file, error) {
	if err := f.call("create %s", filepath.Base(name)); err != nil {
		return nil, err
	}
	inner, err := disk{}.Create(name)
	if err != nil {
		return nil, err
	}
	_ = f.done(nil, filepath.Dir(name), func() error { return os.RemoveAll(name) })
	opened, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	return &faultyFile{fs: f, inner: inner, again: opened, name: name}, nil
}

func (f *faulty) Rename(from, to string) error {
	if err := f.call("rename %s %s", filepath.Base(from), filepath.Base(to)); err != nil {
		return err
	}
	return f.done(disk{}.Rename(from, to), filepath.Dir(to), func() error { return os.Rename(to, from) })
}

func (f *faulty) Exchange(a, b string) error {
	if f.noExchange {
		return fmt.Errorf("exchange: %w", errors.ErrUnsupported)
	}
	if err := f.call("exchange %s %s", filepath.Base(a), filepath.Base(b)); err != nil {
		return err
	}
	return f.done(disk{}.Exchange(a, b), filepath.Dir(b), func() error { return disk{}.Exchange(a, b) })
}

func (f *faulty) RemoveAll(name string) error {
	if err := f.call("remove %s", filepath.Base(name)); err != nil {
		return err
	}
	grave := filepath.Join(f.graveyard, fmt.Sprint(len(f.calls)))
	err := os.Rename(name, grave)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return f.done(err, filepath.Dir(name), func() error { return os.Rename(grave, name) })
}

func (f *faulty) SyncDir(name string) error {
	if err := f.call("sync %s", filepath.Base(name)); err != nil {
		return err
	}
	f.synced(name)
	return nil
}

type faultyFile struct {
	fs    *faulty
	inner file
	again *os.File // a second handle, by which a power cut destroys what was not synced
	name  string
	dirty bool
}

func (f *faultyFile) Write(p []byte) (int, error) {
	if !f.dirty {
		f.dirty = true
		_ = f.fs.done(nil, f.name, func() error { return f.again.Truncate(0) })
	}
	if err := f.fs.call("write %s", filepath.Base(f.name)); err != nil {
		if f.fs.short {
			n, _ := f.inner.Write(p[:len(p)/2])
			return n, nil // io.Writer forbids it; it must be noticed all the same
		}
		return 0, err
	}
	return f.inner.Write(p)
}

func (f *faultyFile) Sync() error {
	if err := f.fs.call("fsync %s", filepath.Base(f.name)); err != nil {
		return err
	}
	f.fs.synced(f.name)
	f.dirty = false
	return nil
}

func (f *faultyFile) Close() error {
	return errors.Join(f.inner.Close(), f.fs.call("close %s", filepath.Base(f.name)))
}

// quick is the disk without waiting for it, for the writes around a fault.
type quick struct{ disk }

type quickFile struct{ file }

func (quick) SyncDir(string) error { return nil }
func (quickFile) Sync() error      { return nil }

func (quick) Create(name string) (file, error) {
	f, err := disk{}.Create(name)
	return quickFile{f}, err
}

func writeQuick(t *testing.T, dir string, texts map[string]string) {
	t.Helper()
	if err := writeFolder(quick{}, dir, contents(texts)); err != nil {
		t.Fatal(err)
	}
}

var (
	oldTexts = map[string]string{"model.json": "old", "weights.safetensors": strings.Repeat("old weights ", 20_000)}
	newTexts = map[string]string{"model.json": "new", "labels.txt": "a\nb\n", "weights.safetensors": strings.Repeat("new weights ", 20_000)}
)

// forEachFault calls f with a file system that fails at each call of a write in turn, until a write comes through.
func forEachFault(t *testing.T, base faulty, write func(*faulty) error, check func(step string, f *faulty, err error)) {
	t.Helper()
	for at := 1; ; at++ {
		f := base
		f.failAt, f.graveyard = at, t.TempDir()
		err := write(&f)
		if len(f.calls) < at {
			if err != nil {
				t.Fatalf("no fault, and still: %v", err)
			}
			if at < 20 {
				t.Fatalf("a write of %d calls: %q", at-1, f.calls)
			}
			return
		}
		check(fmt.Sprintf("call %d (%s)", at, f.calls[at-1]), &f, err)
	}
}

// Whatever fails, the old folder or the new one is there, complete; and the next write comes through and clears up.
func TestWriteFaults(t *testing.T) {
	for _, had := range []bool{false, true} {
		for _, noExchange := range []bool{false, true} {
			for _, dead := range []bool{false, true} {
				for _, fault := range []struct {
					name  string
					err   error
					short bool
				}{{"ENOSPC", syscall.ENOSPC, false}, {"EIO", syscall.EIO, false}, {"EROFS", syscall.EROFS, false}, {"short write", io.ErrShortWrite, true}} {
					if testing.Short() && fault.name != "ENOSPC" {
						continue
					}
					t.Run(fmt.Sprintf("old=%v/noExchange=%v/dead=%v/%s", had, noExchange, dead, fault.name), func(t *testing.T) {
						var dir string
						setUp := func(f *faulty) error {
							dir = filepath.Join(t.TempDir(), "m")
							if had {
								writeQuick(t, dir, oldTexts)
								if err := os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("mine"), 0o666); err != nil {
									t.Fatal(err)
								}
							}
							return writeFolder(f, dir, contents(newTexts))
						}
						forEachFault(t, faulty{err: fault.err, short: fault.short, dead: dead, noExchange: noExchange}, setUp, func(step string, f *faulty, err error) {
							cleaning := strings.HasPrefix(f.calls[f.failAt-1], "remove ") || strings.Contains(f.calls[f.failAt-1], "notes.txt")
							if !cleaning && (!errors.Is(err, fault.err) || !strings.Contains(err.Error(), dir)) {
								t.Fatalf("%s: error %v, want %v with the folder", step, err, fault.err)
							}
							checkOldOrNew(t, step, dir, had, err)
							checkNextWrite(t, step, dir, had)
						})
					})
				}
			}
		}
	}
}

// checkOldOrNew fails unless dir is the old folder or the new one, and the new one where the write returned no error.
func checkOldOrNew(t *testing.T, step, dir string, had bool, writeErr error) {
	t.Helper()
	got, err := load(dir)
	switch {
	case writeErr == nil && !cmp.Equal(got, newTexts):
		t.Fatalf("%s: the write succeeded, the folder has %d files, %v", step, len(got), err)
	case cmp.Equal(got, newTexts), had && cmp.Equal(got, oldTexts), !had && errors.Is(err, ErrNotModel):
	default:
		t.Fatalf("%s: neither old nor new: %v, %d files", step, err, len(got))
	}
}

// checkNextWrite fails unless the next write works and leaves only the folder, with what others had put into it.
func checkNextWrite(t *testing.T, step, dir string, notes bool) {
	t.Helper()
	last := map[string]string{"last": "one"}
	if err := writeFolder(quick{}, dir, contents(last)); err != nil {
		t.Fatalf("%s: the next write: %v", step, err)
	}
	wantFolder(t, dir, last)
	if got := list(t, filepath.Dir(dir)); !slices.Equal(got, []string{"m"}) {
		t.Fatalf("%s: left behind: %q", step, got)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "notes.txt")); notes && (err != nil || string(text) != "mine") {
		t.Fatalf("%s: notes.txt was lost: %v", step, err)
	}
}

// The power goes after each call. Of what was not synced, changes to folders are lost from some point on (file systems keep
// their order), and written data is lost altogether.
func TestWritePowerCut(t *testing.T) {
	for _, noExchange := range []bool{false, true} {
		t.Run(fmt.Sprintf("noExchange=%v", noExchange), func(t *testing.T) {
			for lost := 0; ; lost++ {
				var dir string
				most := 0
				run := func(f *faulty) error {
					dir = filepath.Join(t.TempDir(), "m")
					writeQuick(t, dir, oldTexts)
					return writeFolder(f, dir, contents(newTexts))
				}
				forEachFault(t, faulty{err: syscall.EIO, dead: true, noExchange: noExchange}, run, func(step string, f *faulty, err error) {
					most = max(most, len(f.undo))
					for i := len(f.undo) - 1; i >= 0; i-- {
						u := f.undo[i]
						_, statErr := os.Stat(u.dir)
						isFile := statErr == nil && !isDir(u.dir) || errors.Is(statErr, os.ErrNotExist)
						if i >= len(f.undo)-lost || isFile {
							if err := u.undo(); err != nil && !errors.Is(err, os.ErrNotExist) {
								t.Fatalf("%s: undo: %v", step, err)
							}
						}
					}
					step = fmt.Sprintf("%s, last %d changes lost", step, lost)
					checkOldOrNew(t, step, dir, true, err)
					checkNextWrite(t, step, dir, false)
				})
				if lost > most {
					return
				}
			}
		})
	}
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// The power cut's proof needs its steps in the right order; this is what it would miss if the test's file system were wrong.
func TestWriteOrder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "m")
	write(t, dir, map[string]string{"a": "old"})
	f := &faulty{graveyard: t.TempDir(), noExchange: true}
	if err := writeFolder(f, dir, contents(map[string]string{"b": "2", "a": "1"})); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"mkdir .m.tmp",
		"create a", "write a", "fsync a", "close a",
		"create b", "write b", "fsync b", "close b",
		"create manifest.json", "write manifest.json", "fsync manifest.json", "close manifest.json",
		"sync .m.tmp",
		"rename m .m.old", "rename .m.tmp m", "sync 001", "remove .m.old",
	}
	if diff := cmp.Diff(want, f.calls); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWriteRefusesNames(t *testing.T) {
	for _, name := range []string{"../a", "/a", "a/b", `a\b`, "C:a", "", ".", "..", ".a", "manifest.json", "a\x00"} {
		parent := t.TempDir()
		err := Write(filepath.Join(parent, "m"), contents(map[string]string{name: ""}))
		if err == nil || !strings.Contains(err.Error(), "is not allowed") {
			t.Errorf("%q: error %v", name, err)
		}
		if got := list(t, parent); len(got) != 0 {
			t.Errorf("%q: left behind %q", name, got)
		}
	}
}

// What a write would destroy is left alone, and the refusal comes before any work.
func TestLockRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		prepare func(dir string) error
		is      error
	}{
		"another's folder": {func(d string) error {
			return errors.Join(os.Mkdir(d, 0o777), os.WriteFile(d+"/thesis.tex", nil, 0o666))
		}, ErrNotModel},
		"another's project": {func(d string) error {
			return errors.Join(os.Mkdir(d, 0o777), os.WriteFile(d+"/manifest.json", []byte("{}"), 0o666))
		}, ErrNotModel},
		"damaged manifest": {func(d string) error {
			return errors.Join(os.Mkdir(d, 0o777), os.WriteFile(d+"/manifest.json", nil, 0o666))
		}, ErrCorrupt},
		"a file": {func(d string) error { return os.WriteFile(d, nil, 0o666) }, syscall.ENOTDIR},
	} {
		dir := filepath.Join(t.TempDir(), "m")
		if err := tc.prepare(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := Lock(dir); !errors.Is(err, tc.is) || !strings.Contains(fmt.Sprint(err), dir) {
			t.Errorf("%s: error %v, want %v", name, err, tc.is)
		}
		if got := list(t, filepath.Dir(dir)); !slices.Equal(got, []string{"m"}) {
			t.Errorf("%s: left behind %q", name, got)
		}
	}
	if _, err := Lock("/"); err == nil || !strings.Contains(err.Error(), "root") {
		t.Errorf("/: %v", err)
	}
	if isDir("/proc") && isMount("/proc") {
		if _, err := Lock("/proc"); err == nil {
			t.Error("/proc: no error")
		}
	}
}

func TestLockExcludes(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "m")
	first, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(dir); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("second lock: %v, want ErrLocked", err)
	}
	if err := Write(dir, nil); !errors.Is(err, ErrLocked) {
		t.Fatalf("write beside a lock: %v, want ErrLocked", err)
	}
	other, err := Lock(filepath.Join(parent, "other"))
	if err != nil {
		t.Fatalf("another folder: %v", err)
	}
	if err := errors.Join(first.Write(contents(oldTexts)), first.Unlock(), other.Unlock()); err != nil {
		t.Fatal(err)
	}
	write(t, dir, newTexts)
	wantFolder(t, dir, newTexts)
	if got := list(t, parent); !slices.Equal(got, []string{"m"}) {
		t.Errorf("left behind %q", got)
	}
}

// The folder behind a link is replaced, not the link; an empty folder and one from a newer version may be replaced.
func TestWriteReplaces(t *testing.T) {
	parent := t.TempDir()
	dir, link := filepath.Join(parent, "m"), filepath.Join(parent, "link")
	if err := errors.Join(os.Mkdir(dir, 0o777), os.Symlink("m", link)); err != nil {
		t.Fatal(err)
	}
	write(t, link, oldTexts)
	wantFolder(t, dir, oldTexts)
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v, %v", info, err)
	}
	newer := `{"format":"gputrain folder","version":99,"made_by":"gputrain 7.1"}`
	if err := os.WriteFile(filepath.Join(dir, manifestName), []byte(newer), 0o666); err != nil {
		t.Fatal(err)
	}
	write(t, dir, newTexts)
	wantFolder(t, dir, newTexts)
}

// Readers that come while a folder is replaced again and again always see one of the versions.
func TestOpenDuringWrites(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "m")
	write(t, dir, map[string]string{"a": "0", "b": "0"})
	stop, done := make(chan struct{}), make(chan error)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			text := fmt.Sprint(i)
			if err := Write(dir, contents(map[string]string{"a": text, "b": text})); err != nil {
				done <- err
				return
			}
		}
	}()
	for range 300 {
		f, err := Open(dir)
		if err != nil {
			t.Error(err)
			break
		}
		f.Close()
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
