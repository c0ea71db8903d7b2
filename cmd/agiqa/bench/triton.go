package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/benchmarks/load"
	"github.com/agiqa/agiqa/benchmarks/tritonload"
	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient"
)

func newTriton(t *cli.Terminal) *cobra.Command {
	var f loadFlags
	var direct directFlags
	var model, name string
	cmd := &cobra.Command{
		Use:   "triton --triton 127.0.0.1:8001 --model ensemble",
		Short: "Ask Triton's models directly, without the gateway",
		Long: "Sends generated pixels or embeddings to the image encoder, or to the head or ensemble of a checkpoint, on a " +
			"schedule. Adds Triton's statistics of the run: batches, queue time, compute time.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.settle(cmd); err != nil {
				return err
			}
			s, err := cli.LoadSettings(cmd, t)
			if err != nil {
				return err
			}
			if len(s.Triton) == 0 {
				return errors.New("--triton is required: the gRPC address of Triton")
			}
			asked, err := direct.open(cmd.Context(), &f, s, "--triton", s.Triton,
				tritonload.Config{What: tritonload.What(model)}, name)
			if err != nil {
				return err
			}
			defer asked.close()
			f.options.Backend = asked.backend
			m := f.manifest(cmd)
			run, err := f.measure(cmd.Context(), t, asked.target)
			if err != nil {
				return err
			}
			return errors.Join(f.report(cmd, t, m, nil, load.Summarise(run), run), run.Err())
		},
	}
	f.add(cmd)
	f.addShapes(cmd)
	cmd.Flags().StringVar(&model, "model", string(tritonload.Ensemble), "model to call: image-encoder, head or ensemble")
	direct.add(cmd)
	cmd.Flags().StringVar(&name, "checkpoint", demoBundle,
		"bundle in the checkpoints folder whose head or ensemble to call")
	cmd.Flags().IntVar(&f.pid, "pid", 0, "Triton's process, to measure its CPU time and memory, with its children")
	config.AddFlags(cmd.Flags(), "Triton", "Checkpoints", "Program")
	return cmd
}

// demoBundle is the bundle whose models are asked unless another is named.
const demoBundle = "demo"

// directFlags say how Triton is asked without a gateway.
type directFlags struct{ batch int }

func (d *directFlags) add(cmd *cobra.Command) {
	cmd.Flags().IntVar(&d.batch, "batch", 1, "images per request to Triton")
}

// aim is a target, and what a measurement of it needs beside.
type aim struct {
	target  load.Target
	backend load.Backend // nil: none is watched
	close   func()
}

// open connects to the Triton at some addresses, which a flag or an argument
// named, and makes what cfg says of it a target whose statistics are watched.
// The versions found there go into the manifest.
func (d *directFlags) open(ctx context.Context, f *loadFlags, s config.Settings, from string, addresses []string,
	cfg tritonload.Config, checkpoint string) (aim, error) {
	client, err := f.tritonClient(from, addresses)
	if err != nil {
		return aim{}, err
	}
	target, err := d.ask(ctx, f, s, client, cfg, checkpoint)
	if err != nil {
		client.Close()
		return aim{}, fmt.Errorf("%s: %w", from, err)
	}
	return aim{target, tritonload.Backend{Source: client}, func() { client.Close() }}, nil
}

func (d *directFlags) ask(ctx context.Context, f *loadFlags, s config.Settings, client *tritonclient.Client,
	cfg tritonload.Config, checkpoint string) (*tritonload.Target, error) {
	cfg.Batch, cfg.Seed = d.batch, f.seed
	var err error
	if cfg.Encoder, err = client.Describe(ctx); err != nil {
		return nil, err
	}
	if cfg.What != tritonload.ImageEncoder {
		if cfg.Checkpoint, err = openCheckpoint(s, checkpoint); err != nil {
			return nil, err
		}
	}
	target, err := tritonload.New(client, cfg)
	if err != nil {
		return nil, err
	}
	if f.versions == nil {
		f.versions = map[string]string{}
	}
	of := "" // there may be another
	if cfg.Name != "" {
		of = cfg.Name + " "
	}
	if info, err := client.Server(ctx); err == nil {
		f.versions[of+info.Name] = info.Version
	}
	f.versions[of+"encoder"] = cfg.Encoder.Name + " " + cfg.Encoder.Digest.String()
	return target, nil
}

// tritonScheme begins the address of a target that is Triton itself:
// triton://HOST:PORT/MODEL, or triton:///SOCKET/MODEL where it listens on a Unix
// socket.
const tritonScheme = "triton"

func isDirect(address string) bool { return strings.HasPrefix(address, tritonScheme+"://") }

// openURL opens the target at a triton:// address.
func (d *directFlags) openURL(ctx context.Context, f *loadFlags, s config.Settings, address string,
	checkpoints []string) (aim, error) {
	u, err := url.Parse(address)
	if err != nil {
		return aim{}, err
	}
	at, what := u.Host, strings.TrimPrefix(u.Path, "/")
	if u.Host == "" {
		at, what = "unix://"+path.Dir(u.Path), path.Base(u.Path)
	}
	if u.Host != "" && u.Port() == "" || path.Dir(u.Path) == "/" && u.Host == "" || u.User != nil ||
		u.RawQuery != "" || u.Fragment != "" {
		return aim{}, fmt.Errorf("%s: want triton://HOST:PORT/MODEL or triton:///SOCKET/MODEL", u.Redacted())
	}
	if len(checkpoints) > 1 {
		return aim{}, fmt.Errorf("--checkpoint %s: %s takes one checkpoint", strings.Join(checkpoints, ","), address)
	}
	name := demoBundle
	if len(checkpoints) == 1 {
		name = checkpoints[0]
	}
	cfg := tritonload.Config{Name: address, What: tritonload.What(what)}
	return d.open(ctx, f, s, address, []string{at}, cfg, name)
}

// addBehind adds the flag of commands that ask a gateway and may look at what
// its Triton did meanwhile.
func (f *loadFlags) addBehind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.triton, "triton", "",
		"gRPC addresses of the Triton servers behind the gateway, comma-separated, to read their statistics")
}

// watchTriton connects to what the flag names; close has to be called.
func (f *loadFlags) watchTriton() (b load.Backend, close func(), err error) {
	if f.triton == "" {
		return nil, func() {}, nil
	}
	client, err := f.tritonClient("--triton", strings.Split(f.triton, ","))
	if err != nil {
		return nil, nil, err
	}
	return tritonload.Backend{Source: client, Stages: tritonload.GatewayStages()}, func() { client.Close() }, nil
}

// tritonClient connects to servers that are this machine's, or may be asked.
// A flag or an argument named them.
func (f *loadFlags) tritonClient(from string, addresses []string) (*tritonclient.Client, error) {
	for _, a := range addresses {
		if strings.HasPrefix(a, "unix:") {
			continue
		}
		host, _, err := net.SplitHostPort(a)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", from, err)
		}
		if err := load.CheckLoopback(host); err != nil && !f.allowRemote {
			return nil, fmt.Errorf("%s: %w", from, err)
		}
	}
	cfg := tritonclient.DefaultConfig()
	cfg.Addresses = addresses
	cfg.MaxInFlight = max(cfg.MaxInFlight, 2*f.options.Connections)
	cfg.Connections = max(cfg.Connections, (f.options.Connections+99)/100)
	return tritonclient.New(cfg)
}

func openCheckpoint(s config.Settings, name string) (quality.Checkpoint, error) {
	if filepath.Base(name) != name {
		return quality.Checkpoint{}, fmt.Errorf("--checkpoint: %q is not the name of a bundle", name)
	}
	bundle, err := checkpoint.Open(filepath.Join(s.Checkpoints, name), checkpoint.DefaultLimits())
	if err != nil {
		return quality.Checkpoint{}, fmt.Errorf("--checkpoint: %w", err)
	}
	return bundle.Checkpoint(), nil
}
