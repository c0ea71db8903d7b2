package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/tritonmodels"
	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/encoder"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/server"
	"github.com/agiqa/agiqa/tritonclient"
	"github.com/agiqa/agiqa/tritonclient/inferencepb"
)

func newModels(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "models",
		Short: "Build the model repository of the default encoder",
		Long: "Converts the published weights of the default encoder to Triton models and writes a complete model " +
			"repository: " +
			"the encoder, and the heads and ensembles of its checkpoints. The folder appears whole or not at all; one that is " +
			"up to date is left alone. make models downloads the weights first.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := cli.LoadSettings(cmd, t)
			if err != nil {
				return err
			}
			return buildModels(cmd, t, s)
		},
	}
	cmd.Flags().String("out", "", "folder to write (default .cache/models of the project)")
	cmd.Flags().String("encoder", "", "folder of the encoder (default encoders/clip-vit-b-16 of the project)")
	cmd.Flags().String("weights", "",
		"archive with the published weights (default the one in .cache/weights of the project)")
	cmd.Flags().Bool("gpu", false, "include the graph that the configuration gpu serves (345 MB)")
	cmd.Flags().Bool("check", false, "write nothing; fail if the repository isn't up to date")
	cmd.Flags().StringSlice("served", nil,
		"with --check: gRPC addresses of Tritons whose configurations must be those of the repository")
	cmd.Flags().Bool("pin", false, "write the digests of the encoder's files into its encoder.json instead")
	cmd.MarkFlagsMutuallyExclusive("check", "pin")
	config.AddFlags(cmd.Flags(), "Checkpoints")
	return cmd
}

func buildModels(cmd *cobra.Command, t *cli.Terminal, s config.Settings) error {
	flag := func(name, otherwise string) string {
		if v, err := cmd.Flags().GetString(name); err == nil && v != "" {
			return v
		}
		return otherwise
	}
	on := func(name string) bool {
		v, err := cmd.Flags().GetBool(name)
		return err == nil && v
	}
	folder := flag("encoder", cli.DefaultEncoder())
	if on("pin") {
		weights, err := weightsOf(folder, flag("weights", ""))
		if err != nil {
			return err
		}
		digest, err := encoder.Pin(folder, weights)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(t.Out, digest)
		return err
	}
	e, err := encoder.Open(folder)
	if err != nil {
		return err
	}
	registry, err := checkpoint.LoadDir(s.Checkpoints, "", checkpoint.DefaultLimits())
	if err != nil {
		return fmt.Errorf("setting checkpoints: %w", err)
	}
	precisions := []encoder.Precision{encoder.Int8}
	if on("gpu") {
		precisions = append(precisions, encoder.FP32)
	}
	out := flag("out", cli.BuiltModels())
	if s.Triton, err = cmd.Flags().GetStringSlice("served"); err != nil {
		return err
	}
	if on("check") {
		return checkModels(cmd.Context(), e, out, registry.List(), precisions, s)
	}
	if len(s.Triton) > 0 {
		return errors.New("--served needs --check")
	}
	weights, err := weightsOf(folder, flag("weights", ""))
	if err != nil {
		return err
	}
	changed, err := e.WriteRepository(out, weights, registry.List(), precisions...)
	if err != nil {
		return err
	}
	verb := "is up to date"
	if changed {
		verb = "written"
	}
	t.Note("models of encoder %s (%s): %s %s", e.Name, e.Digest.Short(), out, verb)
	return nil
}

// checkModels reports the first way in which the repository in dir, or what the
// Tritons of the settings serve, isn't what agiqa models writes.
func checkModels(ctx context.Context, e *encoder.Folder, dir string, bundles []*checkpoint.Bundle,
	precisions []encoder.Precision, s config.Settings) error {
	for _, p := range precisions {
		if err := e.CheckRepository(dir, bundles, p); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	texts, err := e.Configurations(bundles)
	if err != nil {
		return err
	}
	want := map[checkpoint.Variant][]*inferencepb.ModelConfig{}
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		wanted, err := tritonclient.ParseModelConfig(texts[name])
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		file := filepath.Join(dir, name)
		written, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		got, err := tritonclient.ParseModelConfig(written)
		if err == nil {
			err = tritonclient.CompareModelConfig(got, wanted)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		v := checkpoint.Variant(strings.TrimSuffix(filepath.Base(name), ".pbtxt"))
		want[v] = append(want[v], wanted)
	}
	if len(s.Triton) == 0 {
		return nil
	}
	return checkServed(ctx, s, want)
}

// checkServed compares what Tritons serve with the variant that they run.
func checkServed(ctx context.Context, s config.Settings, want map[checkpoint.Variant][]*inferencepb.ModelConfig) error {
	cfg, err := server.TritonConfig(s)
	if err != nil {
		return err
	}
	client, err := tritonclient.New(cfg)
	if err != nil {
		return fmt.Errorf("--served: %w", err)
	}
	defer client.Close()
	runtime, err := client.Runtime(ctx)
	if err != nil {
		return fmt.Errorf("--served: %w", err)
	}
	v := tritonmodels.VariantOf(runtime)
	if err := client.CheckConfigs(ctx, want[v]); err != nil {
		return fmt.Errorf("a served configuration isn't the one in configs/%s.pbtxt: %w", v, err)
	}
	return nil
}

// weightsOf returns where the archive of an encoder's weights is: as given, or
// where make models puts it.
func weightsOf(folder, given string) (string, error) {
	if given != "" {
		return given, nil
	}
	name, err := encoder.ArchiveName(folder)
	return filepath.Join(cli.DownloadedWeights(), name), err
}
