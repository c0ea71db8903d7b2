package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/quality"
)

// movesWithin is how long a gateway may take to use the encoder that it was told to.
const movesWithin = 10 * time.Second

func newEncoder(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{Use: "encoder", Short: "Show and change the encoder that the running server uses"}
	cmd.AddCommand(newEncoderList(t), newEncoderUse(t))
	return cmd
}

func newEncoderList(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List the encoders that the Tritons of the server hold", Args: cobra.NoArgs,
	}
	return encoderCommand(t, cmd, func(ctx context.Context, c *cli.Client, _ []string) (gateway.EncoderStatus, error) {
		return encoderStatus(ctx, c)
	})
}

func newEncoderUse(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{
		Use: "use NAME|DIGEST", Short: "Make every gateway use an encoder that a Triton holds",
		Long: "Tells every gateway of the store to use an encoder as soon as one of its Tritons holds it. In an upgrade of " +
			"one Triton after the other, do this when enough of them have the next encoder, before the last one with the " +
			"present encoder stops: then no request fails. Requests that have begun are answered. A digest may be shortened.",
		Args: cobra.ExactArgs(1),
	}
	precision := cmd.Flags().String("precision", "",
		"precision, such as int8, where Tritons hold the encoder in several")
	return encoderCommand(t, cmd,
		func(ctx context.Context, c *cli.Client, args []string) (gateway.EncoderStatus, error) {
			return useEncoder(ctx, c, args[0], *precision)
		})
}

// encoderCommand completes a command that prints which encoders there are.
func encoderCommand(t *cli.Terminal, cmd *cobra.Command,
	ask func(ctx context.Context, c *cli.Client, args []string) (gateway.EncoderStatus, error)) *cobra.Command {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return cli.OnAdmin(cmd, t, func(ctx context.Context, c *cli.Client) error {
			status, err := ask(ctx, c, args)
			if err != nil {
				return err
			}
			if cli.AsJSON(cmd) {
				return cli.PrintJSON(t.Out, status)
			}
			return printEncoders(t, status)
		})
	}
	cli.AddJSON(cmd)
	config.AddFlags(cmd.Flags(), cli.ClientGroups...)
	return cmd
}

// useEncoder chooses an encoder and waits until the gateway that was asked uses it.
func useEncoder(ctx context.Context, c *cli.Client, wish, precision string) (status gateway.EncoderStatus, err error) {
	if status, err = encoderStatus(ctx, c); err != nil {
		return status, err
	}
	wanted, err := findEncoder(status, wish, precision)
	if err != nil {
		return status, err
	}
	body, err := json.Marshal(gateway.EncoderChoice{Digest: wanted.Digest, Precision: &wanted.Precision})
	if err != nil {
		return status, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, c.Base+"/v1/encoder", bytes.NewReader(body))
	if err != nil {
		return status, err
	}
	req.Header.Set("Content-Type", "application/json")
	if err := c.Change(req, &status); err != nil {
		return status, err
	}
	ctx, cancel := context.WithTimeout(ctx, movesWithin)
	defer cancel()
	for {
		if status.InUse != nil && *status.InUse == wanted.EncoderRef {
			return status, nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return status, fmt.Errorf("%s was chosen, and after %s the gateway doesn't use it yet: see agiqa encoder list",
				wanted.Name, movesWithin)
		}
		if now, err := encoderStatus(ctx, c); err == nil {
			status = now
		} else if ctx.Err() == nil {
			return status, err
		}
	}
}

func encoderStatus(ctx context.Context, c *cli.Client) (status gateway.EncoderStatus, err error) {
	body, err := c.Fetch(ctx, "/v1/encoder")
	if err != nil {
		return status, err
	}
	return status, json.Unmarshal(body, &status)
}

// findEncoder returns the one that a name or the beginning of a digest means.
func findEncoder(status gateway.EncoderStatus, wish, precision string) (gateway.HeldEncoder, error) {
	var found []gateway.HeldEncoder
	var all []string
	for _, h := range status.Held {
		all = append(all, heldText(h.EncoderRef))
		if precision != "" && precision != h.Precision {
			continue
		}
		if text := h.Digest.String(); h.Name == wish || strings.HasPrefix(text, wish) ||
			strings.HasPrefix(h.Digest.Hex(), wish) {
			found = append(found, h)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return gateway.HeldEncoder{}, fmt.Errorf("no Triton of the server holds the encoder %s; they hold %s",
			quality.Quote(wish), strings.Join(all, " and "))
	}
	return gateway.HeldEncoder{}, fmt.Errorf("%s means several encoders: give more of the digest, or --precision; "+
		"Tritons hold %s", quality.Quote(wish), strings.Join(all, " and "))
}

func heldText(e gateway.EncoderRef) string {
	if e.Precision == "" {
		return fmt.Sprintf("%s (%s)", e.Name, e.Digest)
	}
	return fmt.Sprintf("%s (%s, %s)", e.Name, e.Digest, e.Precision)
}

func printEncoders(t *cli.Terminal, status gateway.EncoderStatus) error {
	w := tabwriter.NewWriter(t.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tNAME\tPRECISION\tTRITONS\tCHOSEN\tDIGEST")
	for _, h := range status.Held {
		mark, chosen := "", ""
		if status.InUse != nil && *status.InUse == h.EncoderRef {
			mark = "*"
		}
		if c := status.Chosen; c != nil && c.Digest == h.Digest && c.Precision == h.Precision {
			chosen = "yes"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\n", mark, h.Name, h.Precision, h.Servers, chosen, h.Digest)
	}
	if !status.Complete {
		fmt.Fprintln(w, "\nNot every Triton answered.")
	}
	return w.Flush()
}
