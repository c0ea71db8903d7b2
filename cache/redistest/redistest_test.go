//go:build unix

package redistest_test

import (
	"net"
	"testing"
	"time"

	"github.com/agiqa/agiqa/cache/redistest"
)

func TestServer(t *testing.T) {
	s := redistest.Start(t)
	if got := s.Do("SET", "k", "v"); got != "OK" {
		t.Fatalf("SET = %v, want OK", got)
	}
	if got := s.Do("GET", "k"); got != "v" {
		t.Errorf("GET = %v, want v", got)
	}
	if got := s.Do("GET", "absent"); got != nil {
		t.Errorf("GET of an absent key = %v, want nil", got)
	}
	if got := s.Keys(); len(got) != 1 || got[0] != "k" {
		t.Errorf("Keys = %q, want [k]", got)
	}

	s.Kill()
	if conn, err := net.Dial("tcp", s.Addr()); err == nil {
		conn.Close()
		t.Error("something answers after Kill")
	}
	s.Run()
	if got := s.Do("GET", "k"); got != nil {
		t.Errorf("GET after a restart = %v, want nil: nothing is persisted", got)
	}
}

func TestServerDownUntilRun(t *testing.T) {
	s := redistest.New(t)
	if conn, err := net.Dial("tcp", s.Addr()); err == nil {
		conn.Close()
		t.Fatal("something answers before Run")
	}
	s.Run()
	if got := s.Do("PING"); got != "PONG" {
		t.Errorf("PING = %v, want PONG", got)
	}
}

func TestServerFreezes(t *testing.T) {
	s := redistest.Start(t)
	s.Stop()
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatalf("a frozen server must still accept connections: %v", err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 16)
	if n, err := conn.Read(buf); err == nil {
		t.Errorf("a frozen server answered %q", buf[:n])
	}
	s.Cont()
	if got := s.Do("PING"); got != "PONG" {
		t.Errorf("PING after Cont = %v, want PONG", got)
	}
}

func TestServerUsesItsPassword(t *testing.T) {
	s := redistest.Start(t, "--requirepass", "secret")
	if got := s.Do("PING"); got != "PONG" {
		t.Errorf("PING = %v, want PONG", got)
	}
}
