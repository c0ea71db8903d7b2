package cache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// plainLogger writes lines without a time into the buffer.
func plainLogger() (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})), &b
}

func TestOutageLog(t *testing.T) {
	logger, out := plainLogger()
	c := &clock{t: time.Unix(1000, 0)}
	log := outageLog{logger: logger, throttle: throttle{interval: time.Minute, now: c.now}}
	step := func(want string, ch change, err error) {
		t.Helper()
		out.Reset()
		log.note(ch, err)
		if got := out.String(); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("logged %q, want %q", got, want)
		}
	}
	step("", unchanged, io.EOF)
	step("", closed, nil) // never lost
	step(`level=WARN msg="redis cache is unavailable; continuing without it" reason=closed error=EOF suppressed=0`, opened,
		io.EOF)
	for range 59 {
		c.advance(time.Second)
		step("", probeFailed, io.EOF)
	}
	c.advance(time.Second)
	step("reason=closed error=EOF suppressed=59", probeFailed, io.EOF)
	step(`level=INFO msg="redis cache is available again"`, closed, nil)
	c.advance(time.Second)
	step("", opened, io.EOF) // flapping: within the interval
	step("", closed, nil)    // and so its end is no news either
	c.advance(time.Minute)
	step("suppressed=1", opened, io.EOF)
}

func TestFaultLogKeepsToItsPart(t *testing.T) {
	for _, test := range []struct {
		reason Reason
		want   bool
	}{
		{ReasonOOM, true}, {ReasonReadOnly, true}, {ReasonWrongType, true}, {ReasonInvalid, true},
		{ReasonSize, true}, {ReasonDropped, true}, {ReasonOther, true}, {ReasonMoved, true}, {ReasonProtocol, true},
		{ReasonTimeout, false}, {ReasonRefused, false}, {ReasonClosed, false}, {ReasonLoading, false},
		{ReasonNoAuth, false}, {ReasonUnavailable, false}, {ReasonCancelled, false},
	} {
		t.Run(string(test.reason), func(t *testing.T) {
			logger, out := plainLogger()
			log := newFaultLog(logger, time.Minute)
			for range 3 {
				log.note(context.Background(), LayerRedis, opWrite, test.reason, errors.New("cause"))
			}
			want := 0
			if test.want {
				want = 1
			}
			if got := strings.Count(out.String(), "\n"); got != want {
				t.Errorf("%d lines for three faults within the interval, want %d:\n%s", got, want, out)
			}
			if test.want && !strings.Contains(out.String(), "layer=redis reason="+string(test.reason)+" error=cause") {
				t.Errorf("line %q lacks its facts", out)
			}
		})
	}
}
