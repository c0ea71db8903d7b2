//go:build unix

package deploy_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/agiqa/agiqa/cache"
	"github.com/agiqa/agiqa/experiment/postgrestest"
	"github.com/agiqa/agiqa/experiment/sqlstore"
	"github.com/agiqa/agiqa/internal/metrics/metricstest"
	"github.com/agiqa/agiqa/internal/proctest"
	"github.com/agiqa/agiqa/quality"
)

const redisPassword = "b" // as in secrets

// withTLS is the project with TLS to its stores.
func withTLS(t *testing.T) *types.Project {
	t.Helper()
	project, err := loadFiles(t.Context(), []string{"docker-compose.yml", "deploy/compose.tls.yml"}, secrets, "cpu")
	if err != nil {
		t.Fatal(err)
	}
	return project
}

// startRedis runs the command of compose's redis with the redis-server of this
// machine. /tls in it is the folder tls.
func startRedis(t *testing.T, command []string, tls string) (address string) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a real redis-server; not run with -short")
	}
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Fatal("redis-server is not on PATH: install the Debian package redis-server, or run the tests with -short")
	}
	if len(command) < 2 || command[0] != "sh" || command[1] != "/etc/redis/start.sh" {
		t.Fatalf("command %q, want one that runs start.sh", command)
	}
	dir := t.TempDir()
	var process *proctest.Process
	t.Cleanup(func() {
		if process != nil {
			process.Kill()
		}
	})
	proctest.OnFreePort(t, func(port int) error {
		number := fmt.Sprint(port)
		address = "127.0.0.1:" + number
		args := []string{filepath.Join(root, "deploy", "redis", "start.sh")}
		if !slices.Contains(command, "--tls-port") {
			args = append(args, "--port", number)
		}
		for _, arg := range command[2:] {
			if arg == "6379" {
				arg = number
			}
			args = append(args, strings.Replace(arg, "/tls/", tls+"/", 1))
		}
		args = append(args, "--bind", "127.0.0.1", "--dir", dir)
		cmd := exec.Command("sh", args...)
		acl := filepath.Join(dir, "users.acl")
		cmd.Env = append(os.Environ(), "REDIS_PASSWORD="+redisPassword, "REDIS_ACL_FILE="+acl)
		var err error
		process, err = proctest.Start(cmd, "Ready to accept connections", 20*time.Second)
		return err
	})
	return address
}

// useCache makes a cache send every command that it has, and returns the faults
// that it counted.
func useCache(t *testing.T, config cache.RedisConfig) map[string]int64 {
	t.Helper()
	const patience = 20 * time.Second
	config.OperationTimeout, config.DialTimeout = patience, patience
	store, err := cache.NewRedis(config)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	encoder := quality.Encoder{Name: "test", Digest: quality.DigestOf([]byte("encoder")), Dim: 2, TextWidth: 1}
	if err := store.Check(t.Context(), encoder); err != nil {
		t.Errorf("check: %v", err)
	}
	keys, err := cache.NewKeyring([]byte("the current secret"), []byte("the previous secret"))
	if err != nil {
		t.Fatal(err)
	}
	reader := metric.NewManualReader()
	meter := metric.NewMeterProvider(metric.WithReader(reader))
	image := quality.EmbeddingKey{Image: quality.DigestOf([]byte("image")), Encoder: encoder.ImageIdentity()}
	for range 2 { // the second finds in Redis what the first has left there
		memory, err := cache.NewMemory(cache.DefaultMemoryConfig())
		if err != nil {
			t.Fatal(err)
		}
		c := cache.DefaultImagesConfig()
		c.Encoder, c.Store, c.Remote, c.Keys, c.Meter, c.WriteTimeout = encoder, memory, store, keys, meter, patience
		images, err := cache.NewImages(c)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := images.Lookup(t.Context(), image); !ok {
			images.Store(t.Context(), image, quality.Embedding{0.6, 0.8})
		}
		if err := errors.Join(images.Close(t.Context()), memory.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Delete(t.Context(), "agiqa:v1:image:x"); err != nil {
		t.Errorf("delete: %v", err)
	}
	tokens := store.Tokens(cache.Bucket{PerSecond: 0.001, Burst: 1})
	for i := range 2 {
		if wait, err := tokens.Take(t.Context(), "client", 1, false); err != nil || (wait > 0) != (i == 1) {
			t.Errorf("token %d of one: wait %s, error %v", i, wait, err)
		}
	}
	if got := metricstest.Values(t, reader, "agiqa.cache.requests")["cache=image,layer=redis,outcome=hit"]; got != 1 {
		t.Errorf("%d hits in Redis, want one", got)
	}
	return metricstest.Values(t, reader, "agiqa.cache.errors")
}

// TestRedisUserIsEnoughAndNoMore: the gateway's account may do all that the cache
// asks for, and nothing else.
func TestRedisUserIsEnoughAndNoMore(t *testing.T) {
	t.Parallel()
	project := load(t, "docker-compose.yml", secrets, "gpu")
	address := startRedis(t, project.Services["redis"].Command, "")
	u, err := url.Parse(*project.Services["gateway"].Environment["AGIQA_REDIS_URL"])
	if err != nil {
		t.Fatal(err)
	}
	u.Host = address
	config := cache.DefaultRedisConfig()
	config.URL = u.String()
	if faults := useCache(t, config); len(faults) > 0 {
		t.Errorf("faults %v, want none: is a command missing in deploy/redis/users.acl?", faults)
	}

	connect := func(user, password string) *redis.Client {
		client := redis.NewClient(&redis.Options{Addr: address, Username: user, Password: password, Protocol: 2,
			DisableIdentity: true, MaxRetries: -1})
		t.Cleanup(func() { client.Close() })
		return client
	}
	wantHealthy(t, project.Services["redis"], address, "")
	user := connect(u.User.Username(), redisPassword)
	for _, command := range [][]any{
		{"FLUSHALL"}, {"FLUSHDB"}, {"KEYS", "*"}, {"SCAN", "0"}, {"CONFIG", "GET", "*"}, {"CONFIG", "SET", "dir", "/"},
		{"EVAL", "return redis.call('FLUSHALL')", "0"}, {"EVAL", "return redis.call('SET', 'other:x', 'y')", "0"},
		{"SCRIPT", "FLUSH"}, {"FUNCTION", "LIST"}, {"ACL", "LIST"}, {"CLIENT", "LIST"}, {"INFO"}, {"MONITOR"},
		{"REPLICAOF", "127.0.0.1", "1"}, {"SAVE"}, {"SHUTDOWN"}, {"PUBLISH", "agiqa:x", "y"}, {"SUBSCRIBE", "agiqa:x"},
		{"DEL", "agiqa:x"}, {"RENAME", "agiqa:x", "agiqa:y"}, {"MIGRATE", "h", "1", "agiqa:x", "0", "1"}, {"SELECT", "1"},
		{"SET", "other:x", "y"}, {"GETRANGE", "other:x", "0", "1"}, {"UNLINK", "agiqa:x", "other:x"},
	} {
		err := user.Do(t.Context(), command...).Err()
		if !redis.HasErrorPrefix(err, "NOPERM") && !redis.HasErrorPrefix(err, "The user executing the script can't") {
			t.Errorf("%v: %v, want NOPERM", command, err)
		}
	}
	for name, client := range map[string]*redis.Client{
		"nobody": connect("", ""), "the default user": connect("default", redisPassword), "no name": connect("", redisPassword),
		"a wrong password": connect(u.User.Username(), "x"),
	} {
		if err := client.Ping(t.Context()).Err(); err == nil || !redis.IsAuthError(err) {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
	}
}

// wantHealthy runs a health check of compose's redis. /tls in it is the folder
// tls.
func wantHealthy(t *testing.T, service types.ServiceConfig, address, tls string) {
	t.Helper()
	_, port, _ := strings.Cut(address, ":")
	test := service.HealthCheck.Test
	if len(test) != 2 || test[0] != "CMD-SHELL" {
		t.Fatalf("health check %q", test)
	}
	for password, healthy := range map[string]bool{redisPassword: true, "another": false} {
		script := strings.NewReplacer("redis-cli", "redis-cli -p "+port, "/tls/", tls+"/", "$$", "$").Replace(test[1])
		cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
		cmd.Env = append(os.Environ(), "REDIS_PASSWORD="+password)
		if output, err := cmd.CombinedOutput(); (err == nil) != healthy {
			t.Errorf("%s with the password %q: %v, %s", script, password, err, output)
		}
	}
}

// makeTLS runs tls.sh.
func makeTLS(t *testing.T) (dir string, authorities *x509.CertPool) {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Fatal("openssl is not on PATH: install the Debian package openssl")
	}
	dir = filepath.Join(t.TempDir(), "tls")
	for range 2 { // the second run keeps what is there
		if output, err := exec.Command(filepath.Join(root, "deploy", "tls.sh"), dir).CombinedOutput(); err != nil {
			t.Fatalf("tls.sh: %v\n%s", err, output)
		}
		ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
		if err != nil {
			t.Fatal(err)
		}
		fresh := x509.NewCertPool()
		if !fresh.AppendCertsFromPEM(ca) || authorities != nil && !authorities.Equal(fresh) {
			t.Fatal("ca.crt is no certificate, or another one after a second run")
		}
		authorities = fresh
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder of keys: %v, %v, want mode 0700", info.Mode(), err)
	}
	return dir, authorities
}

// TestStoresOverTLS runs what compose.tls.yml says, with the servers of this
// machine and the certificates of tls.sh.
func TestStoresOverTLS(t *testing.T) {
	t.Parallel()
	project := withTLS(t)
	known := knownSettings()
	gateway := project.Services["gateway"]
	for name := range gateway.Environment {
		if strings.HasPrefix(name, "AGIQA_") && !slices.Contains(known, name) {
			t.Errorf("the gateway is given %s, which is no setting of the program", name)
		}
	}
	dir, authorities := makeTLS(t)
	t.Run("redis", func(t *testing.T) {
		address := startRedis(t, project.Services["redis"].Command, dir)
		u, err := url.Parse(*gateway.Environment["AGIQA_REDIS_URL"])
		if err != nil {
			t.Fatal(err)
		}
		if u.Scheme != "rediss" || u.Host != "redis:6379" {
			t.Errorf("the gateway asks %s", u.Redacted())
		}
		u.Host = address
		config := cache.DefaultRedisConfig()
		config.URL, config.Authorities = u.String(), authorities
		if faults := useCache(t, config); len(faults) > 0 {
			t.Errorf("faults %v, want none", faults)
		}
		wantHealthy(t, project.Services["redis"], address, dir)
		config.Authorities = nil
		wantRefused(t, config)
		u.Scheme = "redis"
		config.URL = u.String()
		wantRefused(t, config)
	})
	t.Run("postgres", func(t *testing.T) {
		service := project.Services["postgres"]
		var args []string
		for _, arg := range service.Command[1:] {
			arg = strings.NewReplacer("/tls/", "DIR/", "/tmp/", "DIR/").Replace(arg)
			args = append(args, arg)
		}
		server := postgrestest.StartWith(t, args, filepath.Join(dir, "postgres.crt"), filepath.Join(dir, "postgres.key"))
		u, err := url.Parse(*gateway.Environment["AGIQA_EXPERIMENT_STORE"])
		if err != nil {
			t.Fatal(err)
		}
		options := u.Query()
		options.Set("sslrootcert", strings.Replace(options.Get("sslrootcert"), "/tls/", dir+"/", 1))
		if err := listExperiments(t, server.Address(options)); err != nil {
			t.Error(err)
		}
		other, _ := makeTLS(t)
		options.Set("sslrootcert", filepath.Join(other, "ca.crt"))
		if err := listExperiments(t, server.Address(options)); err == nil {
			t.Error("a server of an unknown authority is accepted")
		}
	})
}

// TestPostgresRoleIsNoSuperuser runs init.sh as the image does, on the server of
// this machine: the gateway's role has what the store needs and no more.
func TestPostgresRoleIsNoSuperuser(t *testing.T) {
	t.Parallel()
	service := load(t, "docker-compose.yml", secrets, "gpu").Services["postgres"]
	server := postgrestest.Start(t)
	admin, err := url.Parse(server.Address(nil))
	if err != nil {
		t.Fatal(err)
	}
	superuser := *service.Environment["POSTGRES_USER"]
	if superuser != admin.User.Username() {
		t.Fatalf("the superuser is %s", superuser)
	}
	server.Exec(admin.String(), "CREATE DATABASE "+*service.Environment["POSTGRES_DB"]) // as the image does
	cmd := exec.CommandContext(t.Context(), filepath.Join(root, "deploy", "postgres", "init.sh"))
	cmd.Env = append(os.Environ(), "PGHOST="+admin.Hostname(), "PGPORT="+admin.Port(), "PGPASSWORD="+postgrestest.Password,
		"POSTGRES_USER="+superuser, "POSTGRES_DB="+*service.Environment["POSTGRES_DB"], "POSTGRES_PASSWORD=it's d")
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("init.sh: %v\n%s", err, output)
	}
	u := *admin
	u.User, u.Path = url.UserPassword("agiqa", "it's d"), "/"+*service.Environment["POSTGRES_DB"]
	if err := listExperiments(t, u.String()); err != nil { // creates the tables
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), u.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for _, statement := range []string{
		"COPY pg_namespace TO PROGRAM 'true'", "CREATE ROLE x", "ALTER SYSTEM SET fsync = off", "CREATE DATABASE x",
		"SELECT pg_read_file('PG_VERSION')",
	} {
		if _, err := conn.Exec(t.Context(), statement); err == nil {
			t.Errorf("%s: the gateway's role may", statement)
		}
	}
	if conn, err := pgx.Connect(t.Context(), admin.String()); err == nil {
		conn.Close(t.Context())
		t.Error("the superuser may log in with the password")
	}
}

// listExperiments asks a store for something; opening it asks for nothing.
func listExperiments(t *testing.T, address string) error {
	t.Helper()
	config := sqlstore.DefaultConfig()
	config.URL = address
	store, err := sqlstore.Open(t.Context(), config)
	if err != nil {
		return err
	}
	_, err = store.List(t.Context())
	return errors.Join(err, store.Close())
}

func wantRefused(t *testing.T, config cache.RedisConfig) {
	t.Helper()
	store, err := cache.NewRedis(config)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := store.Check(ctx, quality.Encoder{}); err == nil {
		t.Error("the cache talks to a server that it can't verify")
	}
}
