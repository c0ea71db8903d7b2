package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// errEnded means that the server ended before it was ready.
var errEnded = errors.New("tritonserver ended")

// readyPoll is the interval of readiness checks. The server answers one in well
// under a millisecond, and doesn't answer before its models are loaded.
const readyPoll = 20 * time.Millisecond

// awaitReady returns the server's version once it is ready, or errEnded if ended
// is closed first.
func awaitReady(ctx context.Context, addr string, ended <-chan struct{}) (string, error) {
	// Use no proxy, whatever the environment says, and keep no connection open.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	last := errors.New("none")
	for {
		select {
		case <-ended:
			return "", errEnded
		case <-ctx.Done():
			return "", fmt.Errorf("tritonserver is not ready: %w, last answer: %w", ctx.Err(), last)
		case <-tick.C:
		}
		if _, last = get(ctx, client, "http://"+addr+"/v2/health/ready"); last == nil {
			return serverVersion(ctx, client, addr)
		}
	}
}

func serverVersion(ctx context.Context, client *http.Client, addr string) (string, error) {
	body, err := get(ctx, client, "http://"+addr+"/v2")
	if err != nil {
		return "", fmt.Errorf("server metadata: %w", err)
	}
	var metadata struct{ Version string }
	if err := json.Unmarshal(body, &metadata); err != nil {
		return "", fmt.Errorf("server metadata: %w", err)
	}
	return metadata.Version, nil
}

func get(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %s", resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, 64<<10))
}
