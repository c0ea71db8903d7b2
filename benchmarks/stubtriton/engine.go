package stubtriton

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
)

// What an engine finds in its environment: how many numbers an embedding has,
// and the most rows that it gets at once.
const (
	dimVariable   = "AGIQA_ENGINE_DIM"
	batchVariable = "AGIQA_ENGINE_BATCH"
)

// inEngine is how many batches an engine holds: it computes one and reads the
// next.
const inEngine = 2

// engine is a program that embeds images, on its standard input and output. It
// first writes the size of an embedding; then it gets batches, the number of
// rows and their pixels, and answers each with the embeddings of its rows, in
// order. Sizes are little-endian uint32, numbers FP32. At the end of its input
// it leaves.
type engine struct {
	dim, batch int
	jobs       chan *job
	room       chan struct{} // one for each batch that the engine holds
	sent       chan []*job   // batches that it has not answered
	ended      chan struct{} // closed when it can answer no more
	left       chan struct{} // closed when the program has left
	stop       context.CancelFunc

	once sync.Once
	err  error // why it ended, once that is closed
}

// job is the images of one request.
type job struct {
	pixels []byte
	n      int
	began  time.Time // when its batch went to the engine
	answer chan []byte
}

// startEngine returns when the program is ready, which may take it minutes.
func startEngine(ctx context.Context, command []string, image *pb.ModelConfig) (*engine, error) {
	e := &engine{
		dim: dim(image, "image_embedding"), batch: int(image.GetMaxBatchSize()),
		jobs: make(chan *job), room: make(chan struct{}, inEngine), sent: make(chan []*job, inEngine),
		ended: make(chan struct{}), left: make(chan struct{}),
	}
	if e.dim == 0 || e.batch == 0 {
		return nil, fmt.Errorf("model %s has no batches of embeddings", image.GetName())
	}
	ctx, e.stop = context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", dimVariable, e.dim), fmt.Sprintf("%s=%d", batchVariable, e.batch))
	cmd.Stderr, cmd.WaitDelay = os.Stderr, 10*time.Second
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Cancel = in.Close // it leaves by itself; WaitDelay kills it otherwise
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(out, size[:]); err != nil {
		e.stop()
		return nil, errors.Join(fmt.Errorf("engine %s ended before it was ready", command[0]), cmd.Wait())
	}
	if got := binary.LittleEndian.Uint32(size[:]); got != uint32(e.dim) {
		e.stop()
		_ = cmd.Wait()
		return nil, fmt.Errorf("engine %s has embeddings of %d numbers, want %d", command[0], got, e.dim)
	}
	var both sync.WaitGroup
	both.Go(func() { e.fail(e.write(in)) })
	both.Go(func() { e.fail(e.read(out)) })
	go func() {
		<-e.ended
		e.stop()
		both.Wait()
		_ = cmd.Wait() // what it had to say of itself is on stderr
		close(e.left)
	}()
	return e, nil
}

// errClosed is the reason of an engine that was told to leave.
var errClosed = errors.New("the server stopped")

// close lets the program leave, and returns why it left before that, if it did.
func (e *engine) close() error {
	e.fail(errClosed)
	<-e.left
	if errors.Is(e.err, errClosed) {
		return nil
	}
	return e.err
}

// fail ends the engine, for the first reason that is given.
func (e *engine) fail(err error) {
	e.once.Do(func() {
		e.err = err
		close(e.ended)
	})
}

// write makes batches of what waits whenever the engine has room, as Triton
// does without a queue delay.
func (e *engine) write(to io.Writer) error {
	var next *job // did not fit into the batch before
	for {
		select {
		case e.room <- struct{}{}:
		case <-e.ended:
			return nil
		}
		if next == nil {
			select {
			case next = <-e.jobs:
			case <-e.ended:
				return nil
			}
		}
		batch, rows := []*job{next}, next.n
		next = nil
		for waiting := true; waiting && rows < e.batch; {
			select {
			case j := <-e.jobs:
				if rows+j.n > e.batch {
					next, waiting = j, false
					break
				}
				batch, rows = append(batch, j), rows+j.n
			default:
				waiting = false
			}
		}
		for began, i := time.Now(), 0; i < len(batch); i++ {
			batch[i].began = began
		}
		e.sent <- batch // has room for as many as the engine
		if _, err := to.Write(binary.LittleEndian.AppendUint32(nil, uint32(rows))); err != nil {
			return fmt.Errorf("engine: %w", err)
		}
		for _, j := range batch {
			if _, err := to.Write(j.pixels); err != nil {
				return fmt.Errorf("engine: %w", err)
			}
		}
	}
}

// read hands out the answers.
func (e *engine) read(from io.Reader) error {
	r := bufio.NewReaderSize(from, 1<<20)
	for {
		if _, err := r.Peek(1); err != nil {
			return errors.New("engine: it left")
		}
		var batch []*job
		select {
		case batch = <-e.sent:
		default:
			return errors.New("engine: it answered what nobody asked")
		}
		for _, j := range batch {
			embeddings := make([]byte, 4*e.dim*j.n)
			if _, err := io.ReadFull(r, embeddings); err != nil {
				return fmt.Errorf("engine: %w", err)
			}
			j.answer <- embeddings
		}
		<-e.room
	}
}

// embed returns the embeddings of n images, how long they waited, and how long
// the engine had them.
func (e *engine) embed(ctx context.Context, pixels []byte, n int) (_ []byte, queue, compute time.Duration, _ error) {
	j := &job{pixels: pixels, n: n, answer: make(chan []byte, 1)}
	arrived := time.Now()
	select {
	case e.jobs <- j:
	case <-ctx.Done():
		return nil, 0, 0, status.FromContextError(ctx.Err()).Err()
	case <-e.ended:
		return nil, 0, 0, e.gone()
	}
	select {
	case embeddings := <-j.answer:
		return embeddings, j.began.Sub(arrived), time.Since(j.began), nil
	case <-ctx.Done():
		return nil, 0, 0, status.FromContextError(ctx.Err()).Err()
	case <-e.ended:
		return nil, 0, 0, e.gone()
	}
}

func (e *engine) gone() error {
	return status.Errorf(codes.Unavailable, "the engine ended: %v", e.err)
}
