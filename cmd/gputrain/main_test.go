package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"gputrain/backend"
	"gputrain/checkpoint"
	"gputrain/data"
	"gputrain/train"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"gputrain": main, "saving": saving})
}

// saving is a program that has something to save at the first signal, and takes for ever.
func saving() {
	ctx, _ := watchSignals().hold()
	fmt.Fprintln(os.Stderr, "working")
	<-ctx.Done()
	fmt.Fprintln(os.Stderr, "saving")
	select {}
}

// The scripts find train.jsonl, .labels, .npy, the same of test, and many.txt beside their own files, and have two commands of ours:
//
//	exits CODE PROGRAM ARGS...                   runs the program, which must exit with the code
//	signalled CODE SIGNAL TEXT PROGRAM ARGS...   sends the signal when standard error shows the text; with TEXT|TEXT twice.
//	                                             It leaves what the program wrote in the files stdout and stderr
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("CUDA_VISIBLE_DEVICES", "") // the scripts are about machines without a GPU
			write := func(name, text string) error {
				return os.WriteFile(filepath.Join(env.WorkDir, name), []byte(text), 0o666)
			}
			err := write("many.txt", strings.Repeat("the dog barks\n", 2500))
			for _, f := range []struct {
				name      string
				n, offset int
			}{{"train", 120, 0}, {"test", 30, 1}} {
				rows, labels, vectors := makeRows(f.n, f.offset)
				err = errors.Join(err, write(f.name+".jsonl", rows), write(f.name+".labels", labels), write(f.name+".npy", vectors))
			}
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": cmdExits, "signalled": cmdSignalled},
	})
}

// makeRows makes rows whose words, and whose vectors, tell their labels: in JSON lines with the labels, and as a labels file with a
// NumPy matrix.
func makeRows(n, offset int) (rows, labels, vectors string) {
	animals, sounds := []string{"cat", "dog", "bird"}, []string{"purrs", "barks", "sings"}
	var r, l, v strings.Builder
	header := fmt.Sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': (%d, 2), }", n)
	header += strings.Repeat(" ", 118-1-len(header)) + "\n"
	v.WriteString("\x93NUMPY\x01\x00\x76\x00" + header)
	for i := range n {
		k := (i + offset) % 3
		text, names := fmt.Sprintf("the %s %s number%d", animals[k], sounds[k], i%7), []string{animals[k]}
		if i%5 == 0 {
			text, names = text+" loudly tonight", append(names, "loud")
		}
		fmt.Fprintf(&r, `{"id":"row-%d","text":%q,"labels":["%s"]}`+"\n", i, text, strings.Join(names, `","`))
		fmt.Fprintln(&l, strings.Join(names, "\t"))
		angle := 2 * math.Pi * float64(k) / 3
		for _, x := range []float64{math.Cos(angle), math.Sin(angle)} {
			bits := math.Float32bits(float32(x))
			v.Write([]byte{byte(bits), byte(bits >> 8), byte(bits >> 16), byte(bits >> 24)})
		}
	}
	return r.String(), l.String(), v.String()
}

func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func cmdSignalled(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 4 {
		ts.Fatalf("usage: signalled CODE SIGNAL TEXT PROGRAM ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	signal := map[string]os.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM}[args[1]]
	program := ""
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if p := filepath.Join(dir, args[3]); program == "" {
			if _, err := os.Stat(p); err == nil {
				program = p
			}
		}
	}
	cmd := exec.Command(program, args[4:]...)
	cmd.Dir = ts.MkAbs(".")
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	stderr, err := cmd.StderrPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	timer := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	var seen strings.Builder
	lines := bufio.NewScanner(stderr)
	texts := strings.Split(args[2], "|")
	for lines.Scan() {
		seen.WriteString(lines.Text() + "\n")
		if len(texts) > 0 && strings.Contains(lines.Text(), texts[0]) {
			texts = texts[1:]
			ts.Check(cmd.Process.Signal(signal))
		}
	}
	_ = cmd.Wait() // the code is looked at below
	ts.Check(os.WriteFile(ts.MkAbs("stdout"), stdout.Bytes(), 0o666))
	ts.Check(os.WriteFile(ts.MkAbs("stderr"), []byte(seen.String()), 0o666))
	if got := cmd.ProcessState.ExitCode(); got != want || len(texts) > 0 {
		ts.Fatalf("exit code %d, want %d; standard error:\n%s", got, want, seen.String())
	}
}

func TestExitCode(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("while testing: %w", err) }
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{wrap(io.ErrUnexpectedEOF), 1},
		{wrap(checkpoint.ErrLocked), 1},
		{wrap(syscall.ENOSPC), 1},
		{wrap(usagef("x")), 2},
		{wrap(&data.InputError{}), 3},
		{wrap(&data.InputErrors{}), 3},
		{wrap(&inputError{os.ErrNotExist}), 3},
		{wrap(backend.ErrUnavailable), 4},
		{wrap(backend.ErrOutOfMemory), 5},
		{wrap(&train.DivergedError{}), 6},
		{wrap(checkpoint.ErrNotModel), 7},
		{wrap(checkpoint.ErrCorrupt), 7},
		{wrap(checkpoint.ErrVersion), 7},
		{wrap(&misfitError{io.EOF}), 7},
		{wrap(&signalError{syscall.SIGINT, train.ErrInterrupted}), 130},
		{wrap(&signalError{syscall.SIGTERM, train.ErrInterrupted}), 143},
		{wrap(syscall.EPIPE), 141},
	} {
		if got := exitCode(tt.err); got != tt.want {
			t.Errorf("%v: exit code %d, want %d", tt.err, got, tt.want)
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestPanicIsReported(t *testing.T) {
	var stderr bytes.Buffer
	code := run([]string{"gputrain", "version"}, writerFunc(func([]byte) (int, error) { panic("boom") }), &stderr)
	if code != exitBug {
		t.Errorf("exit code %d, want %d", code, exitBug)
	}
	for _, want := range []string{"boom", "Please report", "main_test.go", `["gputrain" "version"]`} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, stderr.String())
		}
	}
}

func TestClosedPipeIsQuiet(t *testing.T) {
	var stderr bytes.Buffer
	code := run([]string{"gputrain", "version"}, writerFunc(func([]byte) (int, error) { return 0, syscall.EPIPE }), &stderr)
	if code != 141 || stderr.Len() > 0 {
		t.Errorf("exit code %d and messages %q, want 141 and none", code, stderr.String())
	}
}

func TestParseConfig(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", "[]"},
		{"only comments", "# nothing\n", "[]"},
		{"values stay as written", "seed: 007\non-error: skip\nlr: 1e-3\nquiet: yes\n", "[{seed 007 1} {on-error skip 2} {lr 1e-3 3} {quiet yes 4}]"},
		{"list", "label-column:\n- a,b\n- c\n", "[{label-column a,b 2} {label-column c 3}]"},
		{"no mapping", "- a\n", "line 1: want lines of the form name: value"},
		{"nested", "train:\n  lr: 1\n", "line 2: train: want a value or a list of values"},
		{"no value", "lr:\n", "line 1: lr: want a value or a list of values"},
		{"twice", "lr: 1\nlr: 2\n", "line 2: lr is set twice"},
		{"two documents", "lr: 1\n---\nlr: 2\n", "more than one YAML document"},
	} {
		settings, err := parseConfig(strings.NewReader(tt.text))
		got := fmt.Sprint(settings)
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add("lr: 1\nlabel-column: [a, b]\n")
	f.Add("? [a]\n: b")
	f.Add("&a [*a]")
	f.Fuzz(func(t *testing.T, text string) {
		settings, err := parseConfig(strings.NewReader(text))
		for _, s := range settings {
			if err != nil || s.line < 1 {
				t.Errorf("%q: %+v, %v", text, s, err)
			}
		}
	})
}

func TestResumeCommand(t *testing.T) {
	got := resumeCommand([]string{"./gputrain", "train", "--train", "my rows.jsonl", "--label-sep", "", "--model", "it's"})
	if want := `./gputrain train --train 'my rows.jsonl' --label-sep '' --model 'it'\''s' --resume`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := resumeCommand([]string{"gputrain", "train", "--resume"}); got != "gputrain train --resume" {
		t.Errorf("got %s", got)
	}
}

func TestAppendNumber(t *testing.T) {
	for v, want := range map[float32]string{0: "0", -1.5: "-1.5", 1e-7: "1e-07", 1e22: "1e+22", 0.1: "0.1"} {
		if got := string(appendNumber(nil, v, "null")); got != want {
			t.Errorf("%g: %s, want %s", v, got, want)
		}
	}
}
