package tritonclient

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
	"github.com/agiqa/agiqa/tritonclient/replicas"
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

// CompareModelConfig returns how got differs from want: the first field that
// does, as in "input[0].data_type is TYPE_FP16, want TYPE_FP32"; nil if none
// does.
func CompareModelConfig(got, want *pb.ModelConfig) error {
	return compareMessages("", got.ProtoReflect(), want.ProtoReflect(), false)
}

// CheckConfigs compares the configurations that every replica serves with want,
// and returns the first difference of each. A server completes what a
// configuration leaves out before it shows it, names and policies for example;
// that is no difference.
func (c *Client) CheckConfigs(ctx context.Context, want []*pb.ModelConfig) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.StatusTimeout)
	defer cancel()
	return c.pool.Each(ctx, func(ctx context.Context, r *replicas.Replica) error {
		for _, w := range want {
			got, err := c.modelConfig(ctx, r, w.GetName())
			if err != nil {
				return err
			}
			if err := compareMessages("", got.ProtoReflect(), w.ProtoReflect(), true); err != nil {
				return badOutput(w.GetName(), "%v", err)
			}
		}
		return nil
	})
}

// compareMessages looks at the fields in their order. completed says that got
// went through a server, which fills in texts, lists and messages, and no
// numbers.
func compareMessages(path string, got, want protoreflect.Message, completed bool) error {
	fields := want.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		name := path + string(f.Name())
		scalar := !f.IsList() && !f.IsMap() && f.Kind() != protoreflect.MessageKind
		switch {
		case !want.Has(f) && !got.Has(f):
			continue
		case !want.Has(f) && completed && (!scalar || f.Kind() == protoreflect.StringKind):
			continue
		case !want.Has(f) && !scalar:
			return fmt.Errorf("%s must not be set", name)
		case !got.Has(f) && !scalar:
			return fmt.Errorf("%s is missing", name)
		}
		var err error
		switch g, w := got.Get(f), want.Get(f); {
		case f.IsMap():
			err = compareMaps(name, f.MapValue(), g.Map(), w.Map(), completed)
		case f.IsList():
			err = compareLists(name, f, g.List(), w.List(), completed)
		default:
			err = compareValues(name, f, g, w, completed)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func compareMaps(path string, f protoreflect.FieldDescriptor, got, want protoreflect.Map, completed bool) error {
	keys := func(m protoreflect.Map) []string {
		found := map[string]bool{}
		m.Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool { found[k.String()] = true; return true })
		return slices.Sorted(maps.Keys(found))
	}
	for _, key := range keys(want) {
		k := protoreflect.ValueOfString(key).MapKey()
		if !got.Has(k) {
			return fmt.Errorf("%s[%s] is missing", path, key)
		}
		if err := compareValues(path+"["+key+"]", f, got.Get(k), want.Get(k), completed); err != nil {
			return err
		}
	}
	for _, key := range keys(got) {
		if !completed && !want.Has(protoreflect.ValueOfString(key).MapKey()) {
			return fmt.Errorf("%s[%.64s] must not be set", path, key)
		}
	}
	return nil
}

func compareLists(path string, f protoreflect.FieldDescriptor, got, want protoreflect.List, completed bool) error {
	if f.Kind() != protoreflect.MessageKind { // such as dims: together they say more
		if g, w := listText(got), listText(want); g != w {
			return fmt.Errorf("%s is %s, want %s", path, g, w)
		}
		return nil
	}
	if got.Len() != want.Len() {
		return fmt.Errorf("%s has %d entries, want %d", path, got.Len(), want.Len())
	}
	for i := range want.Len() {
		if err := compareValues(fmt.Sprintf("%s[%d]", path, i), f, got.Get(i), want.Get(i), completed); err != nil {
			return err
		}
	}
	return nil
}

func compareValues(path string, f protoreflect.FieldDescriptor, got, want protoreflect.Value, completed bool) error {
	if f.Kind() == protoreflect.MessageKind {
		return compareMessages(path+".", got.Message(), want.Message(), completed)
	}
	if got.Equal(want) {
		return nil
	}
	return fmt.Errorf("%s is %s, want %s", path, valueText(f, got), valueText(f, want))
}

func valueText(f protoreflect.FieldDescriptor, v protoreflect.Value) string {
	switch f.Kind() {
	case protoreflect.EnumKind:
		if e := f.Enum().Values().ByNumber(v.Enum()); e != nil {
			return string(e.Name())
		}
	case protoreflect.StringKind:
		return fmt.Sprintf("%.80q", v.String())
	}
	return v.String()
}

func listText(l protoreflect.List) string {
	values := make([]int64, l.Len())
	for i := range values {
		values[i] = l.Get(i).Int()
	}
	return shapeText(values)
}
