// Command dashboards writes Grafana's dashboards (make generate), so that every
// panel has a unit, a text that says what to do with it, and the same look.
//
// A panel asks one question; its text says what a bad answer looks like and
// where to go on. Expressions use the recorded series of
// deploy/prometheus/rules.yml where there is one, so that an alert and a panel
// never disagree. It knows no other package: tests in deploy hold names of
// metrics and the syntax of expressions.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	folder := "deploy/grafana/dashboards"
	if len(os.Args) > 1 {
		folder = os.Args[1]
	}
	if err := write(folder); err != nil {
		fmt.Fprintln(os.Stderr, "dashboards:", err)
		os.Exit(1)
	}
}

func all() []dashboard { return []dashboard{service(), triton(), cache(), experiments()} }

func write(folder string) error {
	for _, d := range all() {
		data, err := json.MarshalIndent(d.render(), "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, d.uid+".json"), append(data, '\n'), 0o644); err != nil {
			return err
		}
	}
	return nil
}
