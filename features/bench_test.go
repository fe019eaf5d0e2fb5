//go:build unix

package features

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"
)

// benchTexts returns the texts of the JSON lines file that GPUTRAIN_BENCH_TEXTS names, or made-up ones.
func benchTexts(b *testing.B) []string {
	path := os.Getenv("GPUTRAIN_BENCH_TEXTS")
	if path == "" {
		return corpus(10_000)
	}
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	var texts []string
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var row struct{ Text string }
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			b.Fatal(err)
		}
		texts = append(texts, row.Text)
	}
	if err := lines.Err(); err != nil {
		b.Fatal(err)
	}
	return texts
}

// cpuTime returns the user and system time of the process so far.
func cpuTime(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func BenchmarkFitText(b *testing.B) {
	texts := benchTexts(b)
	for _, analyzer := range []string{AnalyzerWord, AnalyzerWordChar} {
		for _, workers := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/workers=%d", analyzer, workers), func(b *testing.B) {
				began := cpuTime(b)
				for b.Loop() {
					fit(b, texts, defaults(b, analyzer), workers)
				}
				b.ReportMetric((cpuTime(b)-began).Seconds()/float64(b.N), "cpu-s/op")
			})
		}
	}
}
