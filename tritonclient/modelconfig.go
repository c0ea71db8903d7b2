package tritonclient

import (
	"fmt"

	"google.golang.org/protobuf/encoding/prototext"

	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
)

// ParseModelConfig reads a config.pbtxt. Fields that Triton 24.10 does not
// know are an error, as they are to that server; whether the tensors of an
// ensemble fit together is for the server to say.
func ParseModelConfig(b []byte) (*pb.ModelConfig, error) {
	cfg := &pb.ModelConfig{}
	if err := prototext.Unmarshal(b, cfg); err != nil {
		return nil, fmt.Errorf("config.pbtxt: %w", err)
	}
	return cfg, nil
}
