package bench

import (
	"math"
	"testing"
	"time"

	"gputrain/cpu"
)

// The figures of a tiny run are noise, but each must be there, positive and consistent with the others.
func TestRun(t *testing.T) {
	dev := cpu.New(2)
	t.Cleanup(func() {
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	})
	told := 0
	r, err := Run(dev, Options{Shapes: [][2]int{{3, 65}, {1, 1000}}, Head: [2]int{5, 33}, Tell: func(string) { told++ }})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Loss) != 4 || len(r.Step) != 2 {
		t.Fatalf("%d losses and %d steps, want 2 losses × 2 shapes and 2 steps", len(r.Loss), len(r.Step))
	}
	if told != 1+4+1+2 {
		t.Errorf("told %d times, want once for each of 8 measurements", told)
	}
	positive := func(name string, values ...float64) {
		for _, v := range values {
			if !(v > 0) || math.IsInf(v, 0) {
				t.Errorf("%s: %v, want positive and finite", name, values)
			}
		}
	}
	positive("copy", r.CopyGBs)
	positive("gemm", r.GemmGFlops, r.GemmCPU)
	for _, l := range r.Loss {
		positive("loss "+l.Name, l.Seconds, l.CPUSeconds, l.Copies)
	}
	for _, s := range r.Step {
		positive("step "+s.Name, s.Seconds, s.GFlops)
		if want := 4 * 256 * 5 * 33 / s.Seconds / 1e9; math.Abs(s.GFlops-want) > 1e-9*want {
			t.Errorf("step %s: %v GFLOP/s in %v s, want %v", s.Name, s.GFlops, s.Seconds, want)
		}
	}
}

func TestClock(t *testing.T) {
	asleep, err := clock(func() error { time.Sleep(50 * time.Millisecond); return nil })
	if err != nil || asleep.wall < 0.05 || asleep.cpu > 0.04 {
		t.Errorf("sleep of 50 ms: %+v, %v; want wall time and next to no CPU time", asleep, err)
	}
	busy, _ := clock(func() error {
		began := time.Now()
		for time.Since(began) < 50*time.Millisecond {
			random(1000)
		}
		return nil
	})
	if busy.cpu < 0.01 {
		t.Errorf("50 ms of work: %+v, want CPU time", busy)
	}
}

func TestMedian(t *testing.T) {
	all := []spent{{3, 30}, {1, 10}, {2, 50}}
	if got := median(all, byWall); got != 2 {
		t.Errorf("median wall time %v, want 2", got)
	}
	if got := median(all, byCPU); got != 30 {
		t.Errorf("median CPU time %v, want 30", got)
	}
}

func TestTargets(t *testing.T) {
	y := targets(100, 7)
	if err := y.Check(); err != nil {
		t.Fatal(err)
	}
	if y.Rows() != 100 || y.Cols != 7 {
		t.Errorf("%d×%d, want 100×7", y.Rows(), y.Cols)
	}
}
