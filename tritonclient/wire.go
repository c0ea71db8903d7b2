package tritonclient

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto" // registers the codec that replies are read with
	"google.golang.org/grpc/mem"
	protobuf "google.golang.org/protobuf/proto"

	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
)

// inferCall is a ModelInferRequest whose tensor bytes stay where they are: head
// is the message without raw_input_contents, and raw holds for each input the
// pieces that make up its tensor.
type inferCall struct {
	head *pb.ModelInferRequest
	raw  [][][]byte
}

// wire is gRPC's protobuf codec, except that it writes an inferCall without
// copying pixels: the transport reads them from where preparation left them.
type wire struct{ encoding.CodecV2 }

func newWire() wire { return wire{encoding.GetCodecV2(proto.Name)} }

// rawContents is the tag of ModelInferRequest.raw_input_contents: field 7,
// length-delimited.
const rawContents = 7<<3 | 2

// Marshal implements [encoding.CodecV2].
func (w wire) Marshal(v any) (mem.BufferSlice, error) {
	call, ok := v.(*inferCall)
	if !ok {
		return w.CodecV2.Marshal(v)
	}
	head, err := protobuf.Marshal(call.head)
	if err != nil {
		return nil, fmt.Errorf("inference request: %w", err)
	}
	// Each tensor's tag and length follow whatever small bytes came before.
	small := head
	var out mem.BufferSlice
	for _, pieces := range call.raw {
		n := 0
		for _, p := range pieces {
			n += len(p)
		}
		small = binary.AppendUvarint(append(small, rawContents), uint64(n))
		out = append(out, mem.SliceBuffer(small))
		for _, p := range pieces {
			out = append(out, mem.SliceBuffer(p))
		}
		small = nil
	}
	if small != nil {
		out = append(out, mem.SliceBuffer(small))
	}
	return out, nil
}
