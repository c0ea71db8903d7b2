package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/internal/version"
	"github.com/agiqa/agiqa/server"
)

// AddServing adds the flags of a command that uses the running server or, if
// there is none, starts one: the settings of a server, and --embedded.
func AddServing(cmd *cobra.Command) {
	config.AddFlags(cmd.Flags(), ServerGroups...)
	cmd.Flags().Bool("embedded", false, "start a server for this command even if one is running")
}

// WithServer runs f with a client of the server at the url setting. If none runs
// there and url was not set, it starts an embedded server and stops it after f.
func WithServer(cmd *cobra.Command, t *Terminal, f func(ctx context.Context, c *Client) error) error {
	s, given, err := LoadGiven(cmd, t)
	if err != nil {
		return err
	}
	embedded, err := cmd.Flags().GetBool("embedded")
	if err != nil {
		return err
	}
	mode := ""
	if _, ok := given["preprocess"]; ok {
		mode = s.Preprocess
	}
	withMode := func(ctx context.Context, c *Client) error {
		c.Mode = mode
		return f(ctx, c)
	}
	ctx := cmd.Context()
	_, asked := given["url"]
	c, err := ClientOf(s)
	if err != nil {
		return err
	}
	switch {
	case embedded && asked && given["url"].Flag:
		return errors.New("--embedded and --url are mutually exclusive")
	case embedded:
	case c.Answers(ctx):
		if err := checkEffective(given, s.URL); err != nil {
			return err
		}
		return withMode(ctx, c)
	case asked:
		return fmt.Errorf("setting url: no agiqa server answers at %s", s.URL)
	default:
		t.Note("agiqa: no server at %s; starting an embedded one (agiqa up keeps it running)", s.URL)
	}
	return withEmbedded(ctx, s, t, withMode)
}

// checkEffective refuses settings that only a server reads, where one runs that
// was started without them. A flag means this command. The environment and the
// settings file may describe the server, and do where they or a flag name it.
func checkEffective(given map[string]config.Given, server string) error {
	_, named := given["url"]
	var idle []string
	for _, st := range config.All() {
		g, ok := given[st.Key]
		ofServer := st.Use == config.UseServer && (g.Flag || !named)
		if ok && (ofServer || st.Use == config.UseFolder && g.Flag) {
			idle = append(idle, g.Source)
		}
	}
	if len(idle) == 0 {
		return nil
	}
	verb := "has"
	if len(idle) > 1 {
		verb = "have"
	}
	text := fmt.Sprintf(
		"%s %s no effect on the server that runs at %s: "+
			"stop that server, or start another one for this command with --embedded",
		strings.Join(idle, ", "),
		verb,
		server,
	)
	if !slices.ContainsFunc(idle, func(source string) bool { return strings.HasPrefix(source, "--") }) {
		text += ", or name the server with --url"
	}
	if slices.Contains(idle, "--default-checkpoint") {
		text += " (--checkpoint chooses a checkpoint for this command)"
	}
	return errors.New(text)
}

func withEmbedded(
	ctx context.Context,
	s config.Settings,
	t *Terminal,
	f func(ctx context.Context, c *Client) error,
) error {
	s.Listen = net.JoinHostPort("127.0.0.1", "0")
	s.LogLevel, s.ScoringAccess, s.TLSCert, s.TLSKey = "error", "open", "", ""
	srv, err := server.New(ctx, t.Embedded(s, true))
	if err != nil {
		return err
	}
	return srv.While(ctx, func(ctx context.Context) error { return f(ctx, NewClient(srv.URL())) })
}

// OnServer runs f with a client of the server at the url setting, which must be
// running.
func OnServer(cmd *cobra.Command, t *Terminal, f func(ctx context.Context, c *Client) error) error {
	s, err := LoadSettings(cmd, t)
	if err != nil {
		return err
	}
	c, err := ClientOf(s)
	if err != nil {
		return err
	}
	if !c.Answers(cmd.Context()) {
		return fmt.Errorf("setting url: no agiqa server answers at %s (start one with agiqa up)", s.URL)
	}
	return f(cmd.Context(), c)
}

// OnAdmin is OnServer with the admin key.
func OnAdmin(cmd *cobra.Command, t *Terminal, f func(ctx context.Context, c *Client) error) error {
	s, err := LoadSettings(cmd, t)
	if err != nil {
		return err
	}
	key, err := clientKey(s)
	if err != nil {
		return err
	}
	return OnServer(cmd, t, func(ctx context.Context, c *Client) error {
		c.Key = key
		c.http.Timeout = s.ChangeTimeout + c.http.Timeout
		return f(ctx, c)
	})
}

// Embedded returns the configuration of a server with an embedded Triton. An
// ephemeral one serves a single command.
func (t *Terminal) Embedded(s config.Settings, ephemeral bool) server.Config {
	models := ChooseModels(s)
	s.ModelRepository = models.Dir
	return server.Config{
		Settings: s, Version: version.Current().Version, Logger: server.NewLogger(s, t.Err, t.Screen),
		Embedded: true, Ephemeral: ephemeral, Environ: t.Env, Models: models.String(),
	}
}
