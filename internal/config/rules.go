package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// rule is what a value must be beyond its type. A check may also bring the
// value into its usual form. No error of a rule quotes a [Secret].
type rule[T any] struct {
	text  string // for the reference page and for people
	check func(v *T) error
}

// number is a type that bounds make sense for.
type number interface{ ~int | ~int64 | ~float64 }

func bound[T number](text string, ok func(T) bool) rule[T] {
	return rule[T]{text: text, check: func(v *T) error {
		if !ok(*v) {
			return fmt.Errorf("must be %s, is %v", text, *v)
		}
		return nil
	}}
}

func atLeast[T number](least T) rule[T] {
	return bound(fmt.Sprintf("at least %v", least), func(v T) bool { return v >= least })
}

func above[T number](bottom T) rule[T] {
	return bound(fmt.Sprintf("above %v", bottom), func(v T) bool { return v > bottom })
}

func between[T number](least, most T) rule[T] {
	return bound(fmt.Sprintf("%v to %v", least, most), func(v T) bool { return v >= least && v <= most })
}

func aboveUpTo[T number](bottom, most T) rule[T] {
	return bound(fmt.Sprintf("above %v, at most %v", bottom, most), func(v T) bool { return v > bottom && v <= most })
}

func zeroOrAtLeast[T number](least T) rule[T] {
	return bound(fmt.Sprintf("0, or at least %v", least), func(v T) bool { return v == 0 || v >= least })
}

func oneOf(choices ...string) rule[string] {
	text := orList(choices)
	return rule[string]{text: text, check: func(v *string) error {
		if !slices.Contains(choices, *v) {
			return fmt.Errorf("must be %s, is %q", text, *v)
		}
		return nil
	}}
}

// orList writes "a, b or c".
func orList(items []string) string {
	last := len(items) - 1
	if last < 1 {
		return strings.Join(items, "")
	}
	return strings.Join(items[:last], ", ") + " or " + items[last]
}

func minLength(least int) rule[Secret] {
	text := fmt.Sprintf("at least %d bytes", least)
	return rule[Secret]{text: text, check: func(v *Secret) error {
		if len(*v) < least {
			return fmt.Errorf("must have %s", text)
		}
		return nil
	}}
}

// headerKey is for a secret that travels in an HTTP header and that strangers
// may guess at.
func headerKey(least, most int) rule[Secret] {
	text := fmt.Sprintf("%d to %d characters, printable ASCII without spaces", least, most)
	return rule[Secret]{text: text, check: func(v *Secret) error {
		if len(*v) < least || len(*v) > most ||
			strings.ContainsFunc(string(*v), func(r rune) bool { return r <= ' ' || r > '~' }) {
			return errors.New("must be " + text)
		}
		return nil
	}}
}

func listenAddress() rule[string] {
	return rule[string]{text: "host:port", check: func(v *string) error {
		if _, _, err := net.SplitHostPort(*v); err != nil {
			return fmt.Errorf("%q is not host:port", *v)
		}
		return nil
	}}
}

func serverAddresses() rule[[]string] {
	return rule[[]string]{text: "host:port or unix:///PATH, each once", check: func(v *[]string) error {
		var faults []string
		for i, a := range *v {
			if !isServerAddress(a) {
				faults = append(faults, fmt.Sprintf("%q is neither host:port nor unix:///PATH", a))
			} else if slices.Contains((*v)[:i], a) {
				faults = append(faults, fmt.Sprintf("%q is given twice", a))
			}
		}
		if len(faults) > 0 {
			return errors.New(strings.Join(faults, ", "))
		}
		return nil
	}}
}

func isServerAddress(a string) bool {
	if path, ok := strings.CutPrefix(a, "unix://"); ok {
		return strings.HasPrefix(path, "/")
	}
	host, port, err := net.SplitHostPort(a)
	n, portErr := strconv.ParseUint(port, 10, 16)
	return err == nil && portErr == nil && host != "" && n > 0
}

// hostNames are hosts, with or without a port, as they are compared: in lower case.
func hostNames() rule[[]string] {
	const text = "* or hosts such as api.example or api.example:8443"
	return rule[[]string]{text: text, check: func(v *[]string) error {
		for i, name := range *v {
			if name == "*" {
				continue
			}
			u, err := url.Parse("//" + name)
			bare := strings.Count(name, ":") > 1 && name[0] != '[' // an IPv6 address without brackets
			if err != nil || u.Host != name || u.Hostname() == "" || bare || strings.ContainsAny(name, "*,") {
				return fmt.Errorf("%q must be %s", name, text)
			}
			host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
			if (*v)[i] = host; u.Port() != "" {
				(*v)[i] = net.JoinHostPort(host, u.Port())
			}
		}
		return nil
	}}
}

// webOrigins are origins as browsers write them: lower case, without the
// scheme's own port.
func webOrigins() rule[[]string] {
	const text = "* or origins such as https://app.example"
	return rule[[]string]{text: text, check: func(v *[]string) error {
		if slices.Equal(*v, []string{"*"}) {
			return nil
		}
		for i, origin := range *v {
			if origin == "*" {
				return errors.New("* allows every origin; leave the others out")
			}
			u, err := url.Parse(strings.ToLower(strings.TrimSuffix(origin, "/")))
			if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" ||
				*u != (url.URL{Scheme: u.Scheme, Host: u.Host}) || strings.ContainsAny(u.Host, "*,") {
				return fmt.Errorf("%q must be %s", origin, text)
			}
			ownPort := map[string]string{"http": ":80", "https": ":443"}[u.Scheme]
			(*v)[i] = u.Scheme + "://" + strings.TrimSuffix(u.Host, ownPort)
		}
		return nil
	}}
}

// urlOf is a URL with one of some schemes.
func urlOf[T ~string](schemes ...string) rule[T] {
	text := "URL with " + orList(schemes)
	return rule[T]{text: text, check: func(v *T) error {
		_, err := parseURL(string(*v), schemes...)
		return err
	}}
}

// socketSchemes are those of URLs that may name a Unix socket instead of a host.
var socketSchemes = []string{"unix", "postgres", "postgresql"}

// parseURL reads a URL that may hold a password. No error quotes any part of
// it, since in a mistyped URL the password may be anywhere.
func parseURL(raw string, schemes ...string) (*url.URL, error) {
	u, err := url.Parse(raw)
	fault := ""
	switch {
	case err != nil:
		fault = "is not a valid URL"
	case !slices.Contains(schemes, u.Scheme), u.Host == "" && !slices.Contains(socketSchemes, u.Scheme):
		fault = "is not a URL with scheme " + orList(schemes)
	case u.Fragment != "" || strings.Contains(u.Path, "@") && u.Scheme != "unix":
		fault = "is not a valid URL"
	default:
		return u, nil
	}
	if strings.Contains(raw, "@") {
		fault += "; special characters in a user name or password must be percent-encoded " +
			"(@ as %40, / as %2F, # as %23, ? as %3F, : as %3A, % as %25)"
	}
	return nil, errors.New(fault)
}

// storeURL is the URL of a PostgreSQL; anything else is the name of a file.
func storeURL() rule[Secret] {
	return rule[Secret]{text: "a file, none, or URL with postgres or postgresql", check: func(v *Secret) error {
		if scheme, _, isURL := strings.Cut(string(*v), "://"); !isURL || strings.ContainsAny(scheme, "/.") {
			return nil
		}
		_, err := parseURL(string(*v), "postgres", "postgresql")
		return err
	}}
}

// tracesPath is where an OTLP/HTTP collector takes traces.
const tracesPath = "/v1/traces"

// otlpBase is the base URL of a collector. The URL of its traces is understood
// as well.
func otlpBase() rule[string] {
	return rule[string]{text: "URL with http or https", check: func(v *string) error {
		u, err := parseURL(*v, "http", "https")
		if err != nil {
			return err
		}
		if u.User != nil {
			return errors.New("must have no user name or password; give headers in OTEL_EXPORTER_OTLP_HEADERS")
		}
		if u.RawQuery != "" {
			return errors.New("must have no query")
		}
		path := strings.TrimRight(u.Path, "/")
		if strings.HasSuffix(path, "/v1/metrics") || strings.HasSuffix(path, "/v1/logs") {
			return fmt.Errorf("ends in %s, which takes no traces; give the base URL, such as http://127.0.0.1:4318",
				path[strings.LastIndex(path, "/v1/"):])
		}
		u.Path, u.RawPath = strings.TrimSuffix(path, tracesPath), ""
		*v = u.String()
		return nil
	}}
}
