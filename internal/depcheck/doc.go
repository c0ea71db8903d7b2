// Package depcheck holds the house's import rules as data and checks them
// against the real import graph.
//
// The rules are the table of docs/architecture made exact: for each package,
// which project packages and which modules it may import, and what it must
// never reach, however long the chain. House in house.go is the table; Load in
// graph.go asks the go command for the graph; Check in check.go compares the
// two and answers with the offending chains.
//
// It refuses to guess: a package that the table does not name is a fault, and
// so is a row whose package is gone. Rules about the standard library are held
// for direct imports only, because fmt itself reaches os. The graph is that of
// the machine's GOOS and GOARCH, with the default build tags.
//
// Nothing links this package; its tests are its only caller.
package depcheck
