package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/agiqa/agiqa/quality"
)

// report prints Markdown: a table by folder and format, and the files on which
// this project and Pillow do not agree, by reason.
func report(w io.Writer, id quality.PreprocessID, references []reference, results []result) {
	var names []string
	for _, r := range references {
		names = append(names, r.name)
	}
	fmt.Fprintf(w, "%d files, %s against %s\n\n", len(results), id, strings.Join(names, " and "))
	fmt.Fprintln(w, "| folder | format | files | equal | differ | only Pillow | only agiqa | neither |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|---|---|")
	for _, group := range groups(results, func(r result) string { return r.folder + " | " + r.format }) {
		row(w, group.key, group.results)
	}
	row(w, "all | ", results)
	for _, list := range []struct {
		outcome outcome
		title   string
	}{
		{differ, "Other pixels"}, {onlyPillow, "Decoded by Pillow alone"}, {onlyOurs, "Decoded by agiqa alone"},
		{neither, "Decoded by neither"},
	} {
		some := slices.DeleteFunc(slices.Clone(results), func(r result) bool { return r.outcome != list.outcome })
		files(w, list.title, some, list.outcome != neither)
	}
}

func row(w io.Writer, name string, results []result) {
	fmt.Fprintf(w, "| %s | %d |", name, len(results))
	for o := range outcomes {
		fmt.Fprintf(w, " %d |", count(results, o))
	}
	fmt.Fprintln(w)
}

// files prints the reasons of results, the most frequent first, and below each
// its files if they are to be named.
func files(w io.Writer, title string, results []result, named bool) {
	if len(results) == 0 {
		return
	}
	fmt.Fprintf(w, "\n## %s: %d\n\n", title, len(results))
	byReason := groups(results, func(r result) string { return cmp.Or(r.reason, r.pillow) })
	slices.SortStableFunc(byReason, func(a, b group) int { return len(b.results) - len(a.results) })
	for _, g := range byReason {
		fmt.Fprintf(w, "- %s: %d\n", g.key, len(g.results))
		for _, r := range g.results {
			if named {
				fmt.Fprintf(w, "  - %s/%s\n", r.folder, r.file)
			}
		}
	}
}

type group struct {
	key     string
	results []result
}

// groups keeps the order in which keys come first.
func groups(results []result, key func(result) string) []group {
	var list []group
	at := map[string]int{}
	for _, r := range results {
		k := key(r)
		i, ok := at[k]
		if !ok {
			i = len(list)
			at[k], list = i, append(list, group{key: k})
		}
		list[i].results = append(list[i].results, r)
	}
	return list
}
