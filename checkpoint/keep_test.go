package checkpoint

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func epochTexts(epoch int) map[string]string { return map[string]string{"state": fmt.Sprint(epoch)} }

func wantLatest(t *testing.T, k Keep, epoch int, skipped ...string) {
	t.Helper()
	f, got, why, err := k.Latest()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got != epoch || f.Dir() != k.Path(epoch) || len(why) != len(skipped) {
		t.Fatalf("latest %d in %s, skipped %v; want %d, skipped %d", got, f.Dir(), why, epoch, len(skipped))
	}
	for i, path := range skipped {
		if !strings.Contains(why[i].Error(), path) {
			t.Errorf("skipped %v, want %s", why[i], path)
		}
	}
	wantFolder(t, f.Dir(), epochTexts(epoch))
}

func TestKeep(t *testing.T) {
	k := Keep{Dir: filepath.Join(t.TempDir(), "run", "checkpoints"), Last: 2}
	if _, _, _, err := k.Latest(); !errors.Is(err, ErrNotModel) {
		t.Fatalf("no checkpoints: %v, want ErrNotModel", err)
	}
	for _, step := range []struct {
		epoch, best int
		want        []string
	}{
		{1, 1, []string{"epoch-0001"}},
		{2, 1, []string{"epoch-0001", "epoch-0002"}},
		{3, 1, []string{"epoch-0001", "epoch-0002", "epoch-0003"}},
		{4, 4, []string{"epoch-0003", "epoch-0004"}},
		{5, 4, []string{"epoch-0004", "epoch-0005"}},
		{4, 4, []string{"epoch-0004"}}, // resumed from 3: 5 belongs to the training given up
		{10_000, 4, []string{"epoch-0004", "epoch-10000"}},
	} {
		if err := k.Write(step.epoch, step.best, contents(epochTexts(step.epoch))); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(step.want, list(t, k.Dir)); diff != "" {
			t.Fatalf("epoch %d (-want +got):\n%s", step.epoch, diff)
		}
		wantLatest(t, k, step.epoch)
	}
	if err := k.Write(-1, 0, nil); err == nil {
		t.Error("epoch -1: no error")
	}
}

func TestLatestSkipsDamaged(t *testing.T) {
	k := Keep{Dir: t.TempDir(), Last: 9}
	for epoch := range 5 {
		if err := k.Write(epoch, 0, contents(epochTexts(epoch))); err != nil {
			t.Fatal(err)
		}
	}
	err := errors.Join(
		os.Truncate(filepath.Join(k.Path(4), "state"), 0),
		os.Remove(filepath.Join(k.Path(3), manifestName)),
		os.Rename(k.Path(2), neighbour(k.Path(2), "old")), // a writer died between its two renames
		os.Mkdir(neighbour(k.Path(7), "tmp"), 0o777),
		os.Mkdir(filepath.Join(k.Dir, "epoch-best"), 0o777),
	)
	if err != nil {
		t.Fatal(err)
	}
	wantLatest(t, k, 2, k.Path(7), k.Path(4), k.Path(3))

	if err := (Keep{Dir: k.Dir, Last: 1}).Write(3, 2, contents(epochTexts(3))); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{".epoch-0002.old", "epoch-0003", "epoch-best"}, list(t, k.Dir)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Whatever fails, the last checkpoint or the new one can be resumed from.
func TestKeepFaults(t *testing.T) {
	for _, dead := range []bool{false, true} {
		var k Keep
		run := func(f *faulty) error {
			k = Keep{Dir: filepath.Join(t.TempDir(), "checkpoints"), Last: 1}
			if err := k.Write(1, 1, contents(epochTexts(1))); err != nil {
				t.Fatal(err)
			}
			k.fs = f
			return k.Write(2, 2, contents(map[string]string{"state": "2", "more": "x", "weights": "y", "rng": "z"}))
		}
		forEachFault(t, faulty{err: syscall.EIO, dead: dead}, run, func(step string, _ *faulty, err error) {
			f, epoch, _, latestErr := k.Latest()
			if latestErr != nil {
				t.Fatalf("%s: %v", step, latestErr)
			}
			f.Close()
			if err == nil && epoch != 2 || epoch != 1 && epoch != 2 {
				t.Fatalf("%s: the write returned %v, the latest is %d", step, err, epoch)
			}
		})
	}
}
