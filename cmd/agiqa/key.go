package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/config"
)

func newKey(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{Use: "key", Short: "Manage the API keys of a server"}
	cmd.AddCommand(newKeyCreate(t), newKeyList(t), newKeyRevoke(t))
	return cmd
}

// keyCommand makes cmd send one request with the admin key, and show the answer.
func keyCommand[T any](t *cli.Terminal, cmd *cobra.Command,
	request func(ctx context.Context, c *cli.Client, args []string) (*http.Request, error),
	show func(T) error) *cobra.Command {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return cli.OnAdmin(cmd, t, func(ctx context.Context, c *cli.Client) error {
			req, err := request(ctx, c, args)
			if err != nil {
				return err
			}
			var answer T
			if err := c.Change(req, &answer); err != nil {
				return err
			}
			if cli.AsJSON(cmd) {
				return cli.PrintJSON(t.Out, answer)
			}
			return show(answer)
		})
	}
	cli.AddJSON(cmd)
	config.AddFlags(cmd.Flags(), cli.ClientGroups...)
	return cmd
}

func newKeyCreate(t *cli.Terminal) *cobra.Command {
	var in gateway.KeyRequest
	var scopes []string
	cmd := &cobra.Command{
		Use: "create NAME --scopes SCOPE,...", Short: "Create an API key and print it, once",
		Long: "Prints the key on standard output and what it's for on standard error. The server keeps a digest of it " +
			"only, so it can't be shown again. Two valid keys may have the same name: to replace one, create the second, " +
			"move to it, and revoke the first.",
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().StringSliceVar(&scopes, "scopes", nil, "what the key allows: "+scopeNames())
	cmd.Flags().StringVar(&in.Rater, "rater", "", "the only rater that the key labels as (scope feedback)")
	cmd.Flags().StringVar(&in.ExpiresIn, "expires-in", "", "validity, such as 12h or 90d (default: no expiry)")
	if err := cmd.MarkFlagRequired("scopes"); err != nil {
		panic(err) // there is no such flag
	}
	return keyCommand(t, cmd, func(ctx context.Context, c *cli.Client, args []string) (*http.Request, error) {
		in.Name = args[0]
		for _, s := range scopes {
			in.Scopes = append(in.Scopes, access.Scope(s))
		}
		body, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Base+"/v1/keys", bytes.NewReader(body))
		if err == nil {
			req.Header.Set("Content-Type", "application/json")
		}
		return req, err
	}, func(key gateway.NewAPIKey) error {
		t.Note("API key %s (%s) for %s, %s. It is not shown again.", key.Name, key.ID, joinScopes(key.Scopes),
			strings.ToLower(expiry(key.APIKey)))
		_, err := fmt.Fprintln(t.Out, key.Secret)
		return err
	})
}

func scopeNames() string { return joinScopes(access.Scopes()) }

func joinScopes(scopes []access.Scope) string {
	var names []string
	for _, s := range scopes {
		names = append(names, string(s))
	}
	return strings.Join(names, ", ")
}

func expiry(k gateway.APIKey) string {
	if k.Expires == nil {
		return "Without expiry"
	}
	return "Valid until " + k.Expires.UTC().Format(time.RFC3339)
}

func newKeyList(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the API keys", Args: cobra.NoArgs,
		Long: "Lists the keys of a server. Those that expired or were revoked are listed for 30 days."}
	type list struct {
		Keys []gateway.APIKey `json:"keys"`
	}
	return keyCommand(t, cmd, func(ctx context.Context, c *cli.Client, _ []string) (*http.Request, error) {
		return http.NewRequestWithContext(ctx, http.MethodGet, c.Base+"/v1/keys", nil)
	}, func(l list) error { return printKeys(t.Out, l.Keys) })
}

func printKeys(out io.Writer, keys []gateway.APIKey) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tNAME\tSTATE\tSCOPES\tRATER\tLAST USE\tEXPIRES")
	for _, k := range keys {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, k.Name, k.State, joinScopes(k.Scopes), k.Rater,
			moment(k.Used), moment(k.Expires))
	}
	return w.Flush()
}

func moment(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04")
}

func newKeyRevoke(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{Use: "revoke ID", Short: "Revoke an API key", Args: cobra.ExactArgs(1),
		Long: "Revokes a key. The server refuses it from then on, others that share its store within 5 seconds."}
	cli.AddYes(cmd)
	return keyCommand(t, cmd, func(ctx context.Context, c *cli.Client, args []string) (*http.Request, error) {
		if err := cli.Confirm(ctx, cmd, t, "revoke API key "+args[0], c.Base); err != nil {
			return nil, err
		}
		return http.NewRequestWithContext(ctx, http.MethodDelete, c.Base+"/v1/keys/"+cli.PathSegment(args[0]), nil)
	}, func(key gateway.APIKey) error {
		_, err := fmt.Fprintf(t.Out, "API key %s (%s) is revoked\n", key.Name, key.ID)
		return err
	})
}
