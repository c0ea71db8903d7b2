package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/agiqa/agiqa/internal/testimages"
)

// TestMemoryOfBombs: files that decode to hundreds of megabytes make the process
// grow by decode-memory at most, garbage included, and soon after the last one it
// is about as small as before. The race detector keeps much in memory itself, so
// the program is built without.
func TestMemoryOfBombs(t *testing.T) {
	needsTriton(t)
	const (
		budget = 320 // MiB, for bombs of up to 245
		beside = 48  // everything else that grows
	)
	cmd := command(t, []string{"AGIQA_DATA_DIR=" + t.TempDir()}, "up", "--listen", "127.0.0.1:0",
		fmt.Sprintf("--decode-memory=%dMiB", budget), "--request-timeout=5m")
	cmd.Path = buildProgram(t)
	p := startServer(t, cmd)
	idle := memoryOf(t, p, "VmRSS")

	bombs := testimages.Bombs(4000, 4000)
	sent := 0
	send := func(atOnce, rounds int) {
		var group errgroup.Group
		group.SetLimit(atOnce)
		for range rounds {
			for name, data := range bombs {
				sent++
				data = strconv.AppendInt(data, int64(sent), 10) // another file, so that no cache knows it
				group.Go(func() error {
					res, err := http.Post(p.url+"/v1/score", "application/octet-stream", bytes.NewReader(data))
					if err != nil {
						return err
					}
					defer res.Body.Close()
					if body, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK {
						return fmt.Errorf("%s: status %d, %s, error %v", name, res.StatusCode, body, err)
					}
					return nil
				})
			}
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
		if most := memoryOf(t, p, "VmHWM"); most > idle+budget+beside {
			t.Errorf("%d MiB when idle, up to %d with %d bombs at a time; decode-memory is %d MiB", idle, most, atOnce, budget)
		}
	}
	send(1, 2)
	send(8, 2)
	eventually(t, "the memory is given back", func() bool {
		return memoryOf(t, p, "VmRSS") < idle+beside
	})
}

// memoryOf returns a field of a process's status, in MiB.
func memoryOf(t *testing.T, p *process, field string) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return kib >> 10
		}
	}
	t.Fatalf("no %s in\n%s", field, status)
	return 0
}
