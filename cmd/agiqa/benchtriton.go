package main

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/benchmarks/load"
	"github.com/agiqa/agiqa/benchmarks/tritonload"
	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient"
)

func newBenchTriton(t *terminal) *cobra.Command {
	var f loadFlags
	var model, name string
	var batch int
	cmd := &cobra.Command{
		Use:   "triton --triton 127.0.0.1:8001 --model ensemble",
		Short: "Ask Triton's models directly, without the gateway",
		Long: "Sends drawn pixels or embeddings to the image encoder, to a checkpoint's head or to its ensemble on a schedule, and adds what Triton counted meanwhile: " +
			"batches, time in the queue, time in the model.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.settle(cmd); err != nil {
				return err
			}
			s, err := loadSettings(cmd, t)
			if err != nil {
				return err
			}
			client, err := f.tritonClient(s.Triton, s.TritonShm)
			if err != nil {
				return err
			}
			defer client.Close()
			cfg := tritonload.Config{What: tritonload.What(model), Batch: batch, Seed: f.seed}
			if cfg.Encoder, err = client.Describe(cmd.Context()); err != nil {
				return err
			}
			if cfg.What != tritonload.ImageEncoder {
				if cfg.Checkpoint, err = benchCheckpoint(s, name); err != nil {
					return err
				}
			}
			target, err := tritonload.New(client, cfg)
			if err != nil {
				return err
			}
			m := f.manifest(cmd)
			if info, err := client.Server(cmd.Context()); err == nil {
				m.Versions[info.Name] = info.Version
			}
			m.Versions["encoder"] = cfg.Encoder.Name + " " + cfg.Encoder.Digest.String()
			f.options.Backend = tritonload.Backend{Source: client}
			run, err := f.measure(cmd.Context(), t, target)
			if err != nil {
				return err
			}
			return errors.Join(f.tell(cmd, t, m, nil, load.Summarise(run), run), run.Err())
		},
	}
	f.add(cmd)
	f.addShapes(cmd)
	cmd.Flags().StringVar(&model, "model", string(tritonload.Ensemble), "image-encoder, head or ensemble")
	cmd.Flags().IntVar(&batch, "batch", 1, "images in one request")
	cmd.Flags().StringVar(&name, "checkpoint", "demo", "bundle in the checkpoints folder whose head or ensemble is asked")
	cmd.Flags().IntVar(&f.pid, "pid", 0, "Triton's process, whose processor time and memory are read, with its children's")
	config.AddFlags(cmd.Flags(), "Triton", "Checkpoints", "Program")
	return cmd
}

// addBehind adds the flag of commands that ask a gateway and may look at what
// its Triton did meanwhile.
func (f *loadFlags) addBehind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.triton, "triton", "", "gRPC address of the Triton behind the gateway, several with commas: its statistics are read before and after")
}

// watchTriton connects to what the flag names; stop has to be called.
func (f *loadFlags) watchTriton() (stop func(), err error) {
	if f.triton == "" {
		return func() {}, nil
	}
	client, err := f.tritonClient(strings.Split(f.triton, ","), string(tritonclient.SharedMemoryOff))
	if err != nil {
		return nil, err
	}
	f.options.Backend = tritonload.Backend{Source: client, Stages: tritonload.GatewayStages()}
	return func() { client.Close() }, nil
}

// tritonClient connects to servers that are this machine's, or may be asked.
func (f *loadFlags) tritonClient(addresses []string, shm string) (*tritonclient.Client, error) {
	if len(addresses) == 0 {
		return nil, errors.New("--triton is needed: Triton's gRPC address")
	}
	for _, a := range addresses {
		host, _, err := net.SplitHostPort(a)
		if err != nil {
			return nil, err
		}
		if err := load.CheckLoopback(host); err != nil && !f.allowRemote {
			return nil, fmt.Errorf("--triton: %w", err)
		}
	}
	cfg := tritonclient.DefaultConfig()
	cfg.Addresses = addresses
	cfg.MaxInFlight = max(cfg.MaxInFlight, 2*f.options.Connections)
	cfg.Connections = max(cfg.Connections, (f.options.Connections+99)/100)
	cfg.SharedMemory = tritonclient.SharedMemory(shm)
	return tritonclient.New(cfg)
}

func benchCheckpoint(s config.Settings, name string) (quality.Checkpoint, error) {
	if filepath.Base(name) != name {
		return quality.Checkpoint{}, fmt.Errorf("--checkpoint: %q is not the name of a bundle", name)
	}
	bundle, err := checkpoint.Open(filepath.Join(s.Checkpoints, name), checkpoint.DefaultLimits())
	if err != nil {
		return quality.Checkpoint{}, fmt.Errorf("--checkpoint: %w", err)
	}
	return bundle.Checkpoint(), nil
}
