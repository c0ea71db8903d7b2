package main

import (
	"fmt"
	"slices"
	"strings"
)

const head = `# Third-party notices

<!-- Made by "go run ./tools/notices"; its test compares this page with what is linked. -->

agiqa is under the Apache License 2.0 (LICENSE). This page names the work of others that it contains, and
passes on the texts that their licences want passed on.
`

// render writes the page. The text of the Apache License is in LICENSE already
// and is not repeated; equal texts of other licences are given once.
func render(works []work, others []component) string {
	var b strings.Builder
	b.WriteString(head)
	b.WriteString("\n## Go modules in the binary\n\n| module | version | licence |\n|---|---|---|\n")
	for _, w := range works {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", w.name, w.version, join(w.names()))
	}
	b.WriteString("\n## Other components\n\n| component | version | licence | use |\n|---|---|---|---|\n")
	for _, c := range others {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", c.name, c.version, c.licence, c.use)
	}
	b.WriteString("\n## Licence texts\n")
	for _, group := range grouped(works, others) {
		fmt.Fprintf(&b, "\n### %s\n\n%s", strings.Join(group.names, ", "), fenced(group.text))
	}
	b.WriteString("\n## Notices\n\nThe NOTICE files of modules under the Apache License.\n")
	for _, w := range works {
		for _, n := range w.notices {
			fmt.Fprintf(&b, "\n### NOTICE of %s\n\n%s", w.name, fenced(n.text))
		}
	}
	return b.String()
}

func join(licences []licence) string {
	names := make([]string, len(licences))
	for i, l := range licences {
		names[i] = string(l)
	}
	return strings.Join(names, " and ")
}

// A group is a licence's text with all the works that are under it.
type group struct {
	names []string
	text  string
}

// grouped collects the texts in the order of their first works.
func grouped(works []work, others []component) []group {
	var groups []group
	add := func(name string, d document) {
		if slices.Equal(d.licences, []licence{apache2}) {
			return
		}
		text := strings.TrimSpace(strings.ReplaceAll(d.text, "\r\n", "\n"))
		at := slices.IndexFunc(groups, func(g group) bool { return g.text == text })
		if at < 0 {
			groups = append(groups, group{text: text})
			at = len(groups) - 1
		}
		if !slices.Contains(groups[at].names, name) {
			groups[at].names = append(groups[at].names, name)
		}
	}
	for _, w := range works {
		for _, d := range w.licences {
			add(w.name, d)
		}
	}
	for _, c := range others {
		for _, d := range c.texts {
			add(c.name, d)
		}
	}
	return groups
}

// fenced puts a text between fences that it does not contain itself.
func fenced(text string) string {
	fence := "```"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	return fence + "text\n" + strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n")) + "\n" + fence + "\n"
}
