// Package depcheck holds the import rules of the project as a test: what each
// folder may import, and a few libraries that only certain folders may reach.
// A failing test prints the import chain. Move the import, or change the rule
// together with a page in docs/decisions.
package depcheck
