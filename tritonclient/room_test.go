package tritonclient

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const roomPatience = time.Second

// visitors come into a room; the log says of each when it was let in, and
// whether it was alone to its end.
type visitors struct {
	room  room
	begin time.Time
	mu    sync.Mutex
	log   map[string]string
}

// at lets a visitor come at a time and stay for another.
func (v *visitors) at(ctx context.Context, when time.Duration, name string, alone bool, stay time.Duration) {
	go func() {
		time.Sleep(when)
		g, err := v.room.enter(ctx, alone, roomPatience)
		in := time.Since(v.begin)
		text := "gave up"
		if err == nil {
			time.Sleep(stay)
			text = fmt.Sprintf("%s %v", in, g.leave())
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		v.log[name] = text
	}()
}

func TestRoom(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct {
		name string
		come func(ctx context.Context, v *visitors)
		want map[string]string
	}{
		{"by accident alone", func(ctx context.Context, v *visitors) {
			v.at(ctx, 0, "a", false, 10*ms)
			v.at(ctx, 20*ms, "b", false, 10*ms)
		}, map[string]string{"a": "0s true", "b": "20ms true"}},
		{"neither of two is alone", func(ctx context.Context, v *visitors) {
			v.at(ctx, 0, "a", false, 30*ms)
			v.at(ctx, 10*ms, "b", false, 10*ms)
		}, map[string]string{"a": "0s false", "b": "10ms false"}},
		{"one that must be alone waits for those inside and keeps later ones out", func(ctx context.Context, v *visitors) {
			v.at(ctx, 0, "a", false, 30*ms)
			v.at(ctx, 10*ms, "trial", true, 30*ms)
			v.at(ctx, 20*ms, "b", false, 10*ms)
		}, map[string]string{"a": "0s true", "trial": "30ms true", "b": "60ms true"}},
		{"two that must be alone go one by one, before others", func(ctx context.Context, v *visitors) {
			v.at(ctx, 0, "first", true, 30*ms)
			v.at(ctx, 10*ms, "b", false, 10*ms)
			v.at(ctx, 20*ms, "second", true, 30*ms)
		}, map[string]string{"first": "0s true", "second": "30ms true", "b": "60ms true"}},
		{"one that stays for long gets company", func(ctx context.Context, v *visitors) {
			v.at(ctx, 0, "trial", true, 3*roomPatience)
			v.at(ctx, 10*ms, "b", false, 10*ms)
		}, map[string]string{"trial": "0s false", "b": "1s false"}},
		{"one that waits for long goes in company", func(ctx context.Context, v *visitors) {
			v.at(ctx, 0, "a", false, 3*roomPatience)
			v.at(ctx, 10*ms, "trial", true, 30*ms)
			v.at(ctx, 20*ms, "b", false, 20*ms)
		}, map[string]string{"a": "0s false", "trial": "1.01s false", "b": "1.01s false"}},
		{"those that give up let the others in", func(ctx context.Context, v *visitors) {
			short, cancel := context.WithTimeout(ctx, 50*ms)
			context.AfterFunc(ctx, cancel)
			v.at(ctx, 0, "a", false, 100*ms)
			v.at(short, 10*ms, "trial", true, 10*ms)
			v.at(short, 15*ms, "next", true, 10*ms)
			v.at(ctx, 20*ms, "b", false, 100*ms)
		}, map[string]string{"a": "0s false", "trial": "gave up", "next": "gave up", "b": "50ms false"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := &visitors{begin: time.Now(), log: map[string]string{}}
				test.come(t.Context(), v)
				time.Sleep(10 * roomPatience)
				v.mu.Lock()
				defer v.mu.Unlock()
				if !maps.Equal(v.log, test.want) {
					t.Errorf("came in and was alone: %v, want %v", v.log, test.want)
				}
				if v.room.taken() || v.room.inside != 0 {
					t.Errorf("the room is not free at the end: %d inside, %d wait", v.room.inside, v.room.waiting)
				}
			})
		})
	}
}
