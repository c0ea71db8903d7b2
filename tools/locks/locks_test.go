package locks_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/agiqa/agiqa/tools/locks"
)

var sum = "sha256:" + strings.Repeat("0a", 32)

func TestRead(t *testing.T) {
	for _, test := range []struct {
		name, file, content string
		want                []locks.Pin
		fault               string
	}{
		{
			name: "requirements", file: "a.lock",
			content: "# why\nNum_py.x==1.26.4 ; python_version < '3.11' \\\n    --hash=" + sum + " \\\n    --hash=" + sum + "\n",
			want: []locks.Pin{{
				Ecosystem: locks.PyPI, Name: "num-py-x", Version: "1.26.4", Marker: "python_version < '3.11'",
				Hashes: []string{sum, sum},
			}},
		},
		{name: "a range", file: "a.lock", content: "numpy>=1 --hash=" + sum, fault: "is no NAME==VERSION"},
		{name: "a wildcard", file: "a.lock", content: "numpy==1.* --hash=" + sum, fault: "is no NAME==VERSION"},
		{name: "an address", file: "a.lock", content: "numpy @ https://x/y.whl --hash=" + sum, fault: "is no NAME==VERSION"},
		{name: "an index", file: "a.lock", content: "--index-url https://x\n", fault: "is no NAME==VERSION"},
		{name: "no hash", file: "a.lock", content: "numpy==1\n", fault: "numpy has no hash"},
		{name: "a weak hash", file: "a.lock", content: "numpy==1 --hash=md5:00", fault: "isn't a SHA-256"},
		{name: "nothing", file: "a.lock", content: "# none\n", fault: "pins nothing"},
		{
			name: "npm", file: "package-lock.json",
			content: `{"lockfileVersion": 3, "packages": {"": {"name": "x"},
				"node_modules/a/node_modules/@b/c": {"version": "1.2.3", "integrity": "sha512-x"},
				"node_modules/alias": {"name": "d", "version": "2.0.0", "integrity": "sha512-y"}}}`,
			want: []locks.Pin{
				{Ecosystem: locks.NPM, Name: "@b/c", Version: "1.2.3", Hashes: []string{"sha512-x"}},
				{Ecosystem: locks.NPM, Name: "d", Version: "2.0.0", Hashes: []string{"sha512-y"}},
			},
		},
		{
			name: "npm without a hash", file: "package-lock.json",
			content: `{"lockfileVersion": 3, "packages": {"node_modules/a": {"version": "1"}}}`, fault: "no SHA-512",
		},
		{name: "an old npm", file: "package-lock.json", content: `{"lockfileVersion": 1}`, fault: "want 3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), test.file)
			if err := os.WriteFile(file, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := locks.Read(file)
			if test.fault != "" {
				if err == nil || !strings.Contains(err.Error(), test.fault) || !strings.Contains(err.Error(), file) {
					t.Errorf("error %v, want the file and %q", err, test.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for i := range test.want {
				test.want[i].File = file
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestEverythingIsPinned reads every lock file of the project.
func TestEverythingIsPinned(t *testing.T) {
	const root = "../.."
	files, err := locks.Files(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if _, err := locks.Read(filepath.Join(root, file)); err != nil {
			t.Error(err)
		}
	}
	for _, file := range []string{"embedded/requirements.lock", "tools/generated-clients/package-lock.json"} {
		if !slices.Contains(files, file) {
			t.Errorf("%s isn't among the lock files: %q", file, files)
		}
	}
}

// TestDependabotKnowsEveryLock: no lock file is left out of what is watched.
func TestDependabotKnowsEveryLock(t *testing.T) {
	const root = "../.."
	content, err := os.ReadFile(filepath.Join(root, ".github", "dependabot.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Updates []struct {
			Ecosystem   string `yaml:"package-ecosystem"`
			Directory   string
			Directories []string
		}
	}
	if err := yaml.Unmarshal(content, &config); err != nil {
		t.Fatal(err)
	}
	watched := map[string]bool{}
	for _, u := range config.Updates {
		for _, dir := range append(u.Directories, u.Directory) {
			watched[u.Ecosystem+" "+dir] = true
			if _, err := os.Stat(filepath.Join(root, dir)); err != nil {
				t.Error(err)
			}
		}
	}
	files, err := locks.Files(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		ecosystem := "pip"
		if filepath.Base(file) == "package-lock.json" {
			ecosystem = "npm"
		}
		if dir := "/" + filepath.ToSlash(filepath.Dir(file)); !watched[ecosystem+" "+dir] {
			t.Errorf("%s: dependabot.yml has no %s in %s", file, ecosystem, dir)
		}
	}
}
