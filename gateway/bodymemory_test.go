package gateway_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
)

// fill opens accounts of a client and takes size bytes for each until there is
// no room. It returns how many had room.
func fill(m *gateway.BodyMemory, client string, size int64) int {
	for n := 0; ; n++ {
		if a := m.Open(client, false); !a.Take(size) {
			a.Release()
			return n
		}
	}
}

// Of 1024 bytes, 768 are shared and 256 are a reserve for bodies of up to 8.
func TestSharesOfBodyMemory(t *testing.T) {
	m := gateway.NewBodyMemory(1024, 64)
	if n := fill(m, "a", 64); n != 9 {
		t.Errorf("one client holds %d bodies of 64, want three quarters of what is shared", n)
	}
	if n := fill(m, "b", 64); n != 2 {
		t.Errorf("the next one holds %d", n)
	}
	if n := fill(m, "c", 32); n == 0 {
		t.Error("nothing is left for a third one")
	}
	// Small ones of all of them find room behind the large ones.
	for _, client := range []string{"a", "b", "c", "d"} {
		if n := fill(m, client, 2); n < 8 {
			t.Errorf("%s holds %d small bodies", client, n)
		}
	}
	if held := m.Held(); held > 1024 {
		t.Errorf("%d bytes are held", held)
	}
}

// A body that outgrows the reserve has to find room elsewhere.
func TestLargeBodiesLeaveTheReserve(t *testing.T) {
	m := gateway.NewBodyMemory(1024, 64)
	fill(m, "a", 64)
	a := m.Open("a", false)
	if !a.Take(8) || a.Take(1) {
		t.Error("a body of the small size and no larger one should fit")
	}
	a.Give(4)
	if !a.Take(4) {
		t.Error("what was given back should fit again")
	}
	a.Release()
}

// One body of the largest size fits where nothing else is, whatever the budget,
// and an import even where something is.
func TestTheLargestBodyFits(t *testing.T) {
	for _, budget := range []int64{1, 64, 100, 1 << 30} {
		m := gateway.NewBodyMemory(budget, 64)
		first := m.Open("a", false)
		if !first.Take(64) || !first.Take(4*64) { // its text too
			t.Errorf("budget %d: the largest body does not fit", budget)
		}
		imported := m.Open("b", true)
		if !imported.Take(1 << 30) {
			t.Errorf("budget %d: an import does not fit", budget)
		}
		if second := m.Open("b", true); second.Take(1 << 30) {
			t.Errorf("budget %d: a second import fits", budget)
		}
		first.Release()
		imported.Release()
		imported.Release() // once more changes nothing
		if again := m.Open("b", true); !again.Take(1 << 30) {
			t.Errorf("budget %d: no import fits after the first", budget)
		} else {
			again.Release()
		}
		if held := m.Held(); held != 0 {
			t.Errorf("budget %d: %d bytes are held at the end", budget, held)
		}
	}
}

// Whatever happens, what is held is what was taken, and stays within the budget.
func TestBooksOfBodyMemory(t *testing.T) {
	type books interface {
		Take(n int64) bool
		Give(n int64)
		Release()
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	m := gateway.NewBodyMemory(10_000, 500)
	accounts, held := map[books]int64{}, int64(0)
	for range 20_000 {
		if len(accounts) < 40 {
			accounts[m.Open(fmt.Sprint(random.IntN(4)), false)] = 0
		}
		for a, has := range accounts {
			switch n := random.Int64N(400); random.IntN(4) {
			case 0:
				a.Release()
				held -= has
				delete(accounts, a)
			case 1:
				n = min(n, has)
				a.Give(n)
				accounts[a], held = has-n, held-n
			default:
				if a.Take(n) {
					accounts[a], held = has+n, held+n
				}
			}
			break
		}
		if got := m.Held(); got != held || got > 10_000 {
			t.Fatalf("seed %d: %d are held, want %d and at most 10000", seed, got, held)
		}
	}
}

// stall sends all of a body but its last byte.
func stall(t *testing.T, address string, size int) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	go func() { // the server may refuse to read all of it
		_, _ = fmt.Fprintf(conn, "POST /v1/score HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\n"+
			"Content-Length: %d\r\n\r\n", size)
		_, _ = conn.Write(bytes.Repeat([]byte{'x'}, size-1))
	}()
	return conn
}

// Large bodies that stall keep nobody's small ones out, not even their own
// client's.
func TestStalledBodies(t *testing.T) {
	for _, n := range []int{3, 8, 20} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			r := newRig(t, func(p *plan) { p.gateway.MaxBodyMemory, p.gateway.MaxBodyBytes = 16<<20, 2<<20 })
			s := r.serve()
			var held []net.Conn
			for range n {
				held = append(held, stall(t, s.Listener.Addr().String(), 2<<20))
			}
			if n > 3 { // some don't fit: wait for the refusals
				r.wantRefusals("body_memory")
			} else {
				r.wantGauge("agiqa.bodies.memory", int64(n)*2<<20)
			}
			for i := range 10 {
				if got := r.post("/v1/score", testimages.PNG(8+i, 8), "image/png"); got.status != 200 {
					t.Errorf("a small body: status %d: %s", got.status, got.body)
				}
			}
			for _, c := range held {
				_ = c.Close()
			}
			r.wantGauge("agiqa.bodies.memory", 0)
		})
	}
}

// What doesn't fit waits for those that stall to be cut, and is read then.
func TestBodiesWaitForMemory(t *testing.T) {
	const size = 2 << 20
	r := newRig(t, func(p *plan) {
		p.gateway.MaxBodyMemory, p.gateway.MaxBodyBytes, p.gateway.MaxImageBytes = 16<<20, size, size
		p.gateway.MinBodyRate, p.gateway.BodyWait = 1<<10, 10*time.Second
	})
	onFakeTime(t, r, func(t *testing.T, dial func() net.Conn) {
		head := fmt.Sprintf("POST /v1/score HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: image/png\r\n"+
			"Content-Length: %d\r\n\r\n", size)
		body := head + strings.Repeat("x", size)
		start := time.Now()
		var answers sync.WaitGroup
		for range 20 {
			answers.Go(func() {
				if replies, after, _ := exchange(t, dial(), body[:len(body)-1]); len(replies) != 1 ||
					replies[0].status != http.StatusRequestTimeout && replies[0].status != http.StatusServiceUnavailable {
					t.Errorf("a body that stalls: %v after %v", replies, after)
				}
			})
		}
		synctest.Wait()
		conn := dial()
		replies, after, _ := exchange(t, conn, body)
		if len(replies) != 1 || time.Since(start) < 4*time.Second {
			t.Errorf("answers %v after %v", replies, after)
		}
		answers.Wait()
		if took := time.Since(start); took > 15*time.Second {
			t.Errorf("the last one was cut after %v", took)
		}
	})
	r.wantGauge("agiqa.bodies.memory", 0)
}

// wantRefusals waits until a request was refused for a reason.
func (r *rig) wantRefusals(reason string) {
	r.t.Helper()
	for r.values("agiqa.gateway.refusals")["reason="+reason] == 0 {
		if r.t.Context().Err() != nil {
			r.t.Fatal("nothing was refused")
		}
		runtime.Gosched()
	}
}

// A body that is refused while it comes is told so, and its memory is free.
func TestBodyRefusedUnderWay(t *testing.T) {
	r := newRig(t, func(p *plan) { p.gateway.MaxBodyMemory, p.gateway.MaxBodyBytes = 16<<20, 2<<20 })
	s := r.serve()
	for range 3 {
		stall(t, s.Listener.Addr().String(), 2<<20)
	}
	r.wantGauge("agiqa.bodies.memory", 6<<20)
	stall(t, s.Listener.Addr().String(), 2<<20)
	r.wantGauge("agiqa.bodies.memory", 8<<20)
	// Of unknown length, so that nobody can refuse it before it comes.
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	must(t, err)
	defer conn.Close()
	go func() {
		_, _ = io.WriteString(conn, "POST /v1/score HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\n"+
			"Transfer-Encoding: chunked\r\n\r\n200000\r\n"+strings.Repeat("x", 0x200000)+"\r\n0\r\n\r\n")
	}()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	must(t, err)
	readReply(t, resp).wantProblem(t, quality.KindOverloaded)
	r.wantGauge("agiqa.bodies.memory", 8<<20)
}

// A body is in memory once, in whatever form it comes.
func TestBodiesAreNotCopied(t *testing.T) {
	const images, size = 4, 4 << 20
	r := newRig(t, func(p *plan) {
		p.gateway.MaxBodyBytes, p.gateway.MaxImageBytes = 64<<20, 16<<20
	})
	file := bytes.Repeat([]byte("no image"), size/8)
	text := `{"data":"` + base64Of(file) + `"}`
	part := "--b\r\nContent-Disposition: form-data; name=image\r\n\r\n" + string(file) + "\r\n"
	for _, test := range []struct{ name, contentType, body string }{
		{"raw", "image/png", strings.Repeat(string(file), images)},
		{"multipart", "multipart/form-data; boundary=b", strings.Repeat(part, images) + "--b--\r\n"},
		{"JSON", "application/json", `{"images":[` + strings.Repeat(text+",", images-1) + text + `]}`},
		{"JSON with escapes", "application/json",
			`{"images":[` + strings.ReplaceAll(strings.Repeat(text+",", images-1)+text, "b", `\u0062`) + `]}`},
		{"data URL", "application/json", `{"images":[` + strings.ReplaceAll(strings.Repeat(text+",", images-1)+text,
			`"data":"`, `"data":"data:image/png;base64,`) + `]}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			body := []byte(test.body)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			answer := r.post("/v1/score", body, test.contentType)
			runtime.ReadMemStats(&after)
			if strings.Contains(string(answer.body), "base64") || answer.status >= 500 {
				t.Errorf("%d %.300s", answer.status, answer.body)
			}
			// The buffer and, on the way to its size, smaller ones, of a third of it
			// together and a quarter of it at once.
			if took := after.TotalAlloc - before.TotalAlloc; took > uint64(len(body))*7/4+2<<20 {
				t.Errorf("%d bytes were allocated for a body of %d", took, len(body))
			}
		})
	}
}

// Images of all lengths around the bounds come out of JSON as they went in, in
// every way to write them.
func TestImagesInJSON(t *testing.T) {
	read := gateway.ReadBody(8, 1<<20)
	random := rand.New(rand.NewPCG(1, 2))
	bytesOf := func(n int) []byte {
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		return data
	}
	ways := map[string]func(data []byte) string{
		"plain":        base64Of,
		"no padding":   base64.RawStdEncoding.EncodeToString,
		"url alphabet": base64.URLEncoding.EncodeToString,
		"escaped slashes": func(data []byte) string {
			return strings.ReplaceAll(base64Of(data), "/", `\/`)
		},
		"escaped letters": func(data []byte) string {
			return strings.NewReplacer("A", `\u0041`, "z", `\u007A`, "+", `\u002b`).Replace(base64Of(data))
		},
		"lines": func(data []byte) string {
			return strings.Join(slices.Collect(func(yield func(string) bool) {
				for line := range slices.Chunk([]byte(base64Of(data)), 76) {
					if !yield(string(line)) {
						return
					}
				}
			}), `\r\n`)
		},
		"data URL": func(data []byte) string { return "data:image/png;base64," + base64Of(data) },
		"percent": func(data []byte) string {
			return "data:;base64," + strings.NewReplacer("+", "%2B", "/", "%2f", "=", "%3D").Replace(base64Of(data))
		},
	}
	for name, write := range ways {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{1, 2, 3, 3071, 3072, 3073, 24_570, 24_576, 24_577, 100_000, 100_001, 300_002} {
				first, second := bytesOf(size), bytesOf(size+1)
				items, _, _, err := read("application/json", "", []byte(` {"images":[{"id":"a\"","data":"`+write(first)+
					`"}, {"data" : "`+write(second)+`","prompt":"x"}],"checkpoint":"demo"}`))
				if err != nil {
					t.Fatalf("%d bytes: %v", size, err)
				}
				for i, want := range [][]byte{first, second} {
					if items[i].Err != nil || !bytes.Equal(items[i].Data, want) {
						t.Errorf("%d bytes, image %d: %v", size, i, items[i].Err)
					}
				}
				if items[0].ID != `a"` || items[1].Prompt != "x" {
					t.Errorf("id %q, prompt %q", items[0].ID, items[1].Prompt)
				}
			}
		})
	}
}

// What is long and no image is refused, and what isn't JSON stays none.
func TestLongTexts(t *testing.T) {
	r := newRig(t)
	long := strings.Repeat("x", 40<<10)
	image := `{"data":"` + base64Of(testimages.PNG(8, 8)) + `"}`
	for _, test := range []struct {
		name, body string
		kind       quality.Kind
		says       string
	}{
		{"an id", `{"images":[{"id":"` + long + `"}]}`, quality.KindBadRequest, "body.images[0].id"},
		{"a name", `{"images":[{"` + long + `":1}]}`, quality.KindBadRequest, "body.images[0]"},
		{"a checkpoint", `{"images":[` + image + `],"checkpoint":["a","` + long + `"]}`, quality.KindBadRequest,
			"body.checkpoint[1]"},
		{"data elsewhere", `{"data":"` + long + `"}`, quality.KindBadRequest, "body.data"},
		{"images in images", `{"images":[{"images":[{"data":"` + long + `"}]}]}`, quality.KindBadRequest,
			"body.images[0].images[0].data"},
		{"all of it", `"` + long + `"`, quality.KindBadRequest, "body"},
		{"a line break", `{"images":[{"data":"` + long + "\n" + `"}]}`, quality.KindBadRequest, "(byte 40980)"},
		{"an invalid escape", `{"images":[{"data":"` + long + `\x"}]}`, quality.KindBadRequest, "invalid escape"},
		{"half a character", `{"images":[{"data":"` + long + `\ud83d"}]}`, quality.KindBadRequest, "invalid escape"},
		{"a whole one", `{"images":[{"data":"` + long + `\ud83d\ude00"}]}`, quality.KindBadBase64, "character 40961"},
		{"cut in an escape", `{"images":[{"data":"` + long + `\u00"}]}`, quality.KindBadRequest, "invalid escape"},
		{"no end", `{"images":[{"data":"` + long, quality.KindBadRequest, "byte"},
		{"a fault behind it", `{"images":[{"data":"` + long + `"}]]`, quality.KindBadRequest, "(byte 40983)"},
		{"twice", `{"images":[{"data":"` + long + `","data":"` + long + `"}]}`, quality.KindBadRequest, "appears twice"},
		{"many short ones", `{"images":[` + image + `],"omit":["` + strings.Repeat(`x","`, 230_000) + `"]}`,
			quality.KindPayloadTooLarge, "besides its images"},
	} {
		t.Run(test.name, func(t *testing.T) {
			answer := r.post("/v1/score", []byte(test.body), "application/json")
			answer.wantProblem(t, test.kind)
			if !strings.Contains(string(answer.body), test.says) || strings.Contains(string(answer.body), "agiqa ") {
				t.Errorf("%q is not in %s", test.says, answer.body)
			}
		})
	}
}
