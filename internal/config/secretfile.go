package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// secretType is the type of a setting that fills a [Secret].
const secretType = "secret"

// maxSecretBytes bounds the file of a secret: a key or a URL.
const maxSecretBytes = 64 << 10

// fileOf is the setting that names a file with the secret st.
func fileOf(st Setting) Setting {
	return Setting{
		Key: st.Key + "-file", Group: st.Group, Type: "text", Use: st.Use, FileOf: st.Key,
		Help: "File that contains " + st.Key + ", which must not be set as well. It is read once, at the start.",
	}
}

// withFiles puts a setting for a file behind each secret.
func withFiles(declared []Setting) []Setting {
	var all []Setting
	for _, st := range declared {
		all = append(all, st)
		if st.Type == secretType {
			all = append(all, fileOf(st))
		}
	}
	return all
}

// readSecret returns what the file at path contains, which is one line. No error
// shows any of it.
func readSecret(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", withoutPath(err)
	}
	if !info.Mode().IsRegular() { // opening a pipe may wait for ever
		return "", errors.New("the file is not a regular one")
	}
	f, err := os.Open(path)
	if err != nil {
		return "", withoutPath(err)
	}
	content, err := io.ReadAll(io.LimitReader(f, maxSecretBytes+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return "", withoutPath(err)
	}
	text := strings.TrimSpace(string(content))
	switch {
	case len(content) > maxSecretBytes:
		return "", fmt.Errorf("the file has more than %d bytes", maxSecretBytes)
	case text == "":
		return "", errors.New("the file is empty")
	case strings.ContainsAny(text, "\r\n"):
		return "", errors.New("the file has more than one line")
	}
	return text, nil
}

// withoutPath drops the path from err: whoever reports it names the file.
func withoutPath(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// mountedSecrets is where container runtimes mount secrets, readable by everybody
// in a container that has one user.
const mountedSecrets = "/run/secrets/"

// ExposedSecrets names the files of secrets that every user of this machine may
// read, each with the setting that names it: worth a warning.
func ExposedSecrets(src Sources) ([]string, error) {
	file, err := readFile(src)
	if err != nil {
		return nil, err
	}
	env := Environment(src.Environ)
	var exposed []string
	for _, st := range All() {
		path, source := src.lookup(st, file, env)
		if path = strings.TrimSpace(path); st.FileOf == "" || path == "" || strings.HasPrefix(path, mountedSecrets) {
			continue
		}
		if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o004 != 0 {
			exposed = append(exposed, fmt.Sprintf("%s (from %s)", path, source))
		}
	}
	return exposed, nil
}
