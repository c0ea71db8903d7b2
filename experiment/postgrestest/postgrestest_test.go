//go:build unix

package postgrestest_test

import (
	"net/url"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/agiqa/agiqa/experiment/postgrestest"
)

func TestServer(t *testing.T) {
	s := postgrestest.Start(t)
	one, two := s.URL(), s.URL()
	s.Exec(one, "CREATE TABLE kept (n INT)", "INSERT INTO kept VALUES (7)")
	s.Exec(two, "CREATE TABLE kept (n INT)") // a schema of its own

	conn, err := pgx.Connect(t.Context(), one)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var n int
	if err := conn.QueryRow(t.Context(), "SELECT n FROM kept").Scan(&n); err != nil || n != 7 {
		t.Errorf("read back: %d, %v; want 7", n, err)
	}
	var fsync string
	if err := conn.QueryRow(t.Context(), "SHOW fsync").Scan(&fsync); err != nil || fsync != "on" {
		t.Errorf("fsync is %q, %v; want on", fsync, err)
	}

	u, err := url.Parse(one)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(u.User.Username(), "wrong")
	if conn, err := pgx.Connect(t.Context(), u.String()); err == nil {
		conn.Close(t.Context())
		t.Error("a wrong password was accepted")
	}

	s.Kill()
	if conn, err := pgx.Connect(t.Context(), one); err == nil {
		conn.Close(t.Context())
		t.Error("something answers after Kill")
	}
}
