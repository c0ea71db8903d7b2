package sqlstore

import "strings"

// Versions is the version of the schema.
var Versions = len(migrations)

// Schema returns the statements that lead an empty SQLite file to a version.
func Schema(version int) []string {
	types := strings.NewReplacer("{seq}", "INTEGER PRIMARY KEY", "{int}", "INTEGER", "{bytes}", "BLOB")
	all := []string{`CREATE TABLE agiqa_schema (version INTEGER PRIMARY KEY)`}
	for n, statements := range migrations[:version] {
		for _, s := range statements {
			all = append(all, types.Replace(s))
		}
		all = append(all, strings.Replace(`INSERT INTO agiqa_schema (version) VALUES (?)`, "?", string(rune('1'+n)), 1))
	}
	return all
}
