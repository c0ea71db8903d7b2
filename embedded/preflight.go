package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/agiqa/agiqa/internal/shell"
)

// Finding is the result of one check before a start.
type Finding struct {
	// Name is what was checked, such as "glibc".
	Name string
	// OK reports whether the check passed.
	OK bool
	// Detail is one line: what was found, or what is wrong.
	Detail string
	// Fix is the command that fixes it, or advice if no command does. Empty
	// when OK.
	Fix string
}

// String returns one line: name, detail and fix.
func (f Finding) String() string {
	if f.OK {
		return f.Name + ": " + f.Detail
	}
	return fmt.Sprintf("%s: %s; to fix it: %s", f.Name, f.Detail, f.Fix)
}

// Preflight checks everything that [Start] relies on and reports all of it at
// once. It leaves out checks that depend on a failed one, such as those of the
// packages of an environment that doesn't exist. Its only effect is to create
// RunDir and the folder of LogFile.
func Preflight(ctx context.Context, cfg Config) []Finding {
	if err := cfg.Validate(); err != nil {
		return []Finding{{Name: "configuration", Detail: oneLine(err), Fix: "correct the settings of the embedded Triton"}}
	}
	cfg, err := cfg.absolute()
	if err != nil {
		return []Finding{{Name: "configuration", Detail: oneLine(err), Fix: "start in a folder that exists"}}
	}
	_, findings := preflight(ctx, cfg, thisMachine())
	return findings
}

// machine is what the checks need to know of the machine. Tests replace it.
type machine struct {
	platform string // GOOS/GOARCH
	glibc    func(context.Context) (string, error)
	bash     func() (string, error)
	shm      string // folder of POSIX shared memory
	tmp      string // folder of temporary files
}

func thisMachine() machine {
	return machine{
		platform: runtime.GOOS + "/" + runtime.GOARCH,
		glibc:    glibcVersion,
		bash:     func() (string, error) { return exec.LookPath("bash") },
		shm:      "/dev/shm",
		tmp:      "/tmp",
	}
}

// setup is what preflight found out and start needs.
type setup struct {
	installation
	models  []string
	runDirs []string // where run folders may be
	runDir  string   // where this run's is
}

const makeVenv = "make venv"

func preflight(ctx context.Context, cfg Config, m machine) (setup, []Finding) {
	var s setup
	findings := []Finding{
		checkPlatform(m),
		checkGlibc(ctx, m),
		checkBash(m),
	}
	i, found := checkEnvironment(ctx, cfg.Venv)
	s.installation = i
	findings = append(findings, found...)

	models, f := checkModels(cfg)
	s.models = models
	findings = append(findings, f, checkShm(cfg, m, len(models)), checkLogFolder(cfg))
	s.runDirs = runDirs(cfg, m.tmp)
	s.runDir, f = checkRunDirs(cfg, s.runDirs)
	return s, append(findings, f)
}

// firstFault returns the first finding that is not OK as an error.
func firstFault(findings []Finding) error {
	for _, f := range findings {
		if !f.OK {
			return errors.New(f.String())
		}
	}
	return nil
}

func pass(name, format string, args ...any) Finding {
	return Finding{Name: name, OK: true, Detail: oneLine(fmt.Errorf(format, args...))}
}

func fault(name, fix, format string, args ...any) Finding {
	return Finding{Name: name, Detail: oneLine(fmt.Errorf(format, args...)), Fix: fix}
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

func checkPlatform(m machine) Finding {
	const name, want = "platform", "linux/amd64"
	if m.platform != want {
		return fault(name, "agiqa serve --triton HOST:8001",
			"the bundled Triton runs only on %s, this is %s", want, m.platform)
	}
	return pass(name, "%s", m.platform)
}

// oldestGlibc is what the wheel is built for (manylinux_2_35).
var oldestGlibc = version{2, 35}

func checkGlibc(ctx context.Context, m machine) Finding {
	const name, fix = "glibc", "use Debian 12, Ubuntu 22.04 or newer, or agiqa serve with a Triton elsewhere"
	text, err := m.glibc(ctx)
	if err != nil {
		return fault(name, fix, "no glibc found: %w", err)
	}
	have, err := parseVersion(text)
	if err != nil {
		return fault(name, fix, "%w", err)
	}
	if have.before(oldestGlibc) {
		return fault(name, fix, "version %s is older than %d.%d", text, oldestGlibc.major, oldestGlibc.minor)
	}
	return pass(name, "%s", text)
}

// glibcVersion runs getconf, or ldd if an image has no getconf.
func glibcVersion(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "getconf", "GNU_LIBC_VERSION").Output()
	if err == nil {
		if v, ok := strings.CutPrefix(strings.TrimSpace(string(out)), "glibc "); ok {
			return v, nil
		}
	}
	out, err = exec.CommandContext(ctx, "ldd", "--version").Output()
	if err != nil {
		return "", fmt.Errorf("neither getconf nor ldd reports it: %w", err)
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return first[strings.LastIndexByte(first, ' ')+1:], nil
}

func checkBash(m machine) Finding {
	path, err := m.bash()
	if err != nil {
		return fault("bash", "apt-get install bash", "Triton starts its Python backend with it: %w", err)
	}
	return pass("bash", "%s", path)
}

// checkEnvironment inspects the environment's Python and, if that runs, the
// packages in it.
func checkEnvironment(ctx context.Context, venv string) (installation, []Finding) {
	const name = "python"
	if _, err := os.Stat(filepath.Join(venv, "bin", "python")); err != nil {
		return installation{}, []Finding{fault(name, makeVenv, "no Python environment at %s", venv)}
	}
	i, err := inspectPython(ctx, venv)
	if err != nil {
		return i, []Finding{fault(name, makeVenv, "%w", err)}
	}
	if i.freeThreaded {
		return i, []Finding{fault(name, "rm -rf "+shell.Quote(venv)+" && "+makeVenv+" PYTHON=python3.12",
			"Python %s without a GIL has no Triton backend", i.version)}
	}
	return i, []Finding{
		pass(name, "%s in %s", i.version, venv),
		checkPackages(i), checkLibPython(i), checkServer(i), checkStub(i),
	}
}

func checkPackages(i installation) Finding {
	missing, err := i.missingPackages(requirements)
	switch {
	case err != nil:
		return fault("packages", makeVenv, "%w", err)
	case len(missing) > 0:
		return fault("packages", "rm -rf "+shell.Quote(i.venv)+" && "+makeVenv,
			"%s lacks %s", i.venv, strings.Join(missing, ", "))
	}
	return pass("packages", "as requirements.lock lists them")
}

func checkLibPython(i installation) Finding {
	dir := i.libPython()
	if dir == "" {
		return fault("libpython", "apt-get install libpython"+i.version+
			", or for pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install --force "+i.version,
			"%s, which the Python backend loads, is in none of %v", i.sharedName, i.sharedDirs)
	}
	return pass("libpython", "%s", filepath.Join(dir, i.sharedName))
}

func checkServer(i installation) Finding {
	info, err := os.Stat(i.server())
	if err != nil || info.Mode()&0o111 == 0 {
		return fault("tritonserver", "rm -rf "+shell.Quote(i.venv)+" && "+makeVenv, "no executable at %s", i.server())
	}
	return pass("tritonserver", "%s", i.server())
}

func checkStub(i installation) Finding {
	if _, err := os.Stat(i.stub()); err != nil {
		return fault("python stub", "rm -rf "+shell.Quote(i.venv)+" && "+makeVenv+" PYTHON=python3.12",
			"the wheel has no Python backend for Python %s", i.version)
	}
	return pass("python stub", "for Python %s", i.version)
}

func checkModels(cfg Config) ([]string, Finding) {
	models, err := findModels(cfg)
	if err != nil {
		return nil, fault("models", "git restore "+shell.Quote(cfg.ModelRepositories[0]), "%w", err)
	}
	return models, pass("models", "%s", strings.Join(models, ", "))
}

// shmHeadroom is left for regions that grow and for other programs.
const shmHeadroom = 16 << 20

// checkShm creates a file there, and requires twice the initial region of each
// model: regions grow with the first large batch.
func checkShm(cfg Config, m machine, models int) Finding {
	const name = "shared memory"
	f, err := os.CreateTemp(m.shm, shmPrefix+"probe_*")
	if err != nil {
		return fault(name, "mount -t tmpfs -o size=1g tmpfs "+m.shm, "%w", err)
	}
	f.Close()
	os.Remove(f.Name())
	var fs unix.Statfs_t
	if err := unix.Statfs(m.shm, &fs); err != nil {
		return fault(name, "mount "+m.shm, "%s: %w", m.shm, err)
	}
	need := shmHeadroom + 2*cfg.ShmBytes*int64(models)
	free := int64(fs.Bavail) * fs.Bsize
	if free < need {
		return fault(name,
			fmt.Sprintf("mount -o remount,size=%dm %s, or docker run --shm-size=%[1]dm", 2*need>>20, m.shm),
			"%s has %d MiB free, want %d MiB", m.shm, free>>20, need>>20)
	}
	return pass(name, "%d MiB free in %s", free>>20, m.shm)
}

func checkLogFolder(cfg Config) Finding {
	const name = "data folder"
	dir := filepath.Dir(cfg.LogFile)
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = unix.Access(dir, unix.W_OK)
	}
	if err != nil {
		return fault(name, "choose another with --data-dir or AGIQA_DATA_DIR", "%s cannot be written: %w", dir, err)
	}
	return pass(name, "%s", dir)
}

// checkRunDirs returns the folder for run folders. The finding says why it isn't
// [Config].RunDir, if it isn't.
func checkRunDirs(cfg Config, dirs []string) (string, Finding) {
	const name = "run folder"
	dir, err := chooseRunDir(cfg, dirs)
	switch {
	case err != nil:
		return "", fault(name, "set XDG_RUNTIME_DIR to a folder of yours whose path is short and has only letters, digits "+
			"and _./+@-",
			"Triton can work in none of these: %w", err)
	case dir != cfg.RunDir:
		return dir, pass(name, "%s, because %w", dir, checkRunDir(cfg, cfg.RunDir))
	}
	return dir, pass(name, "%s", dir)
}
