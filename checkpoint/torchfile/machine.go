package torchfile

import (
	"bytes"
	"errors"
	"fmt"
)

// machine runs a pickle. Its stack holds values; a mark remembers how high the
// stack was, and the opcodes that take "everything since the mark" end there.
type machine struct {
	code    []byte
	at      int // the next byte
	stack   []any
	marks   []int
	memo    map[uint32]any
	allowed map[string]global
	build   *builder
	limits  Limits
}

func newMachine(code []byte, build *builder, limits Limits) *machine {
	return &machine{code: code, memo: map[uint32]any{}, allowed: allowed(), build: build, limits: limits}
}

// run returns the one value that the pickle makes. Every error says at which
// byte of the pickle it arose.
func (m *machine) run() (any, error) {
	for range m.limits.Steps {
		start := m.at
		code, err := m.take(1)
		if err != nil {
			return nil, fmt.Errorf("byte %d: no STOP: %w", start, err)
		}
		op := opcodes[code[0]]
		switch {
		case op.name == "":
			return nil, fmt.Errorf("byte %d: 0x%02x is no opcode", start, code[0])
		case op.run == nil:
			return nil, fmt.Errorf("byte %d: opcode %s is not read", start, op.name)
		}
		if err := op.run(m); err != nil {
			return nil, fmt.Errorf("byte %d: %s: %w", start, op.name, err)
		}
		if code[0] == opStop {
			return m.stack[0], nil
		}
	}
	return nil, fmt.Errorf("more than %d opcodes", m.limits.Steps)
}

// take returns the next n bytes of the pickle.
func (m *machine) take(n int) ([]byte, error) {
	if n > len(m.code)-m.at {
		return nil, fmt.Errorf("%d bytes are wanted, %d are left", n, len(m.code)-m.at)
	}
	b := m.code[m.at : m.at+n]
	m.at += n
	return b, nil
}

// line returns the bytes up to the next line feed, which it passes.
func (m *machine) line() (string, error) {
	const longest = 255
	rest := m.code[m.at:]
	end := bytes.IndexByte(rest[:min(len(rest), longest+1)], '\n')
	if end < 0 {
		return "", fmt.Errorf("no line feed within %d bytes", longest)
	}
	m.at += end + 1
	return string(rest[:end]), nil
}

func (m *machine) push(v any) { m.stack = append(m.stack, v) }

// pop takes the top value, but none from below the last mark.
func (m *machine) pop() (any, error) {
	if len(m.stack) == m.floor() {
		return nil, errors.New("the stack is empty")
	}
	v := m.stack[len(m.stack)-1]
	m.stack[len(m.stack)-1] = nil
	m.stack = m.stack[:len(m.stack)-1]
	return v, nil
}

// top returns the top value and leaves it.
func (m *machine) top() (any, error) {
	if len(m.stack) == m.floor() {
		return nil, errors.New("the stack is empty")
	}
	return m.stack[len(m.stack)-1], nil
}

// floor is how far down the stack may be taken from.
func (m *machine) floor() int {
	if len(m.marks) == 0 {
		return 0
	}
	return m.marks[len(m.marks)-1]
}

// sinceMark takes the last mark and what was pushed after it.
func (m *machine) sinceMark() ([]any, error) {
	if len(m.marks) == 0 {
		return nil, errors.New("there is no mark")
	}
	items := append([]any(nil), m.stack[m.floor():]...)
	clear(m.stack[m.floor():])
	m.stack = m.stack[:m.floor()]
	m.marks = m.marks[:len(m.marks)-1]
	return items, nil
}

// popTuple makes a tuple of the top n values.
func (m *machine) popTuple(n int) error {
	t := make(tuple, n)
	for i := range t {
		v, err := m.pop()
		if err != nil {
			return err
		}
		t[n-1-i] = v
	}
	m.push(t)
	return nil
}

// remember keeps the top value under an index.
func (m *machine) remember(index uint32) error {
	v, err := m.top()
	if err == nil {
		m.memo[index] = v
	}
	return err
}

// recall pushes what was kept under an index.
func (m *machine) recall(index uint32) error {
	v, ok := m.memo[index]
	if !ok {
		return fmt.Errorf("nothing was kept under %d", index)
	}
	m.push(v)
	return nil
}

// extend adds items to the list on top.
func (m *machine) extend(items ...any) error {
	v, err := m.top()
	if err != nil {
		return err
	}
	switch v := v.(type) {
	case *list:
		v.items = append(v.items, items...)
	case marker: // its contents are not read
	default:
		return fmt.Errorf("appends to %s", describe(v))
	}
	return nil
}

// set adds pairs of key and value to the dictionary on top.
func (m *machine) set(pairs ...any) error {
	if len(pairs)%2 != 0 {
		return errors.New("a key has no value")
	}
	v, err := m.top()
	if err != nil {
		return err
	}
	switch v := v.(type) {
	case *dict:
		for i := 0; i < len(pairs); i += 2 {
			v.keys, v.values = append(v.keys, pairs[i]), append(v.values, pairs[i+1])
		}
	case marker:
	default:
		return fmt.Errorf("sets items of %s", describe(v))
	}
	return nil
}

// call does what REDUCE asks: of what a pickle may call, nothing is code.
func (m *machine) call() error {
	args, callee, err := m.popCall()
	if err != nil {
		return err
	}
	g, ok := callee.(global)
	if !ok {
		return fmt.Errorf("calls %s", describe(callee))
	}
	var result any
	switch g.meaning {
	case rebuildTensor:
		result, err = m.build.tensor(args)
	case rebuildParameter:
		result, err = m.build.parameter(args)
	case makeDict:
		result, err = emptyDict(args)
	case foreign:
		result = marker{g.name}
	default:
		return fmt.Errorf("calls %s", g.name)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", g.name, err)
	}
	m.push(result)
	return nil
}

// newObject does what NEWOBJ asks, for the classes that become markers.
func (m *machine) newObject() error {
	_, class, err := m.popCall()
	if err != nil {
		return err
	}
	g, ok := class.(global)
	if !ok || g.meaning != foreign {
		return fmt.Errorf("makes an object of %s", describe(class))
	}
	m.push(marker{g.name})
	return nil
}

func (m *machine) popCall() (tuple, any, error) {
	v, err := m.pop()
	if err != nil {
		return nil, nil, err
	}
	args, ok := v.(tuple)
	if !ok {
		return nil, nil, fmt.Errorf("the arguments are %s, want a tuple", describe(v))
	}
	callee, err := m.pop()
	return args, callee, err
}

// emptyDict makes what OrderedDict() and defaultdict(dict) do.
func emptyDict(args tuple) (*dict, error) {
	if len(args) > 1 {
		return nil, fmt.Errorf("%d arguments, want at most 1", len(args))
	}
	for _, a := range args {
		if g, ok := a.(global); !ok || g.meaning != notCalled {
			return nil, fmt.Errorf("an argument is %s", describe(a))
		}
	}
	return &dict{}, nil
}

// attributes takes the attributes that BUILD sets and forgets them: those of a
// state_dict are the versions of its modules.
func (m *machine) attributes() error {
	if _, err := m.pop(); err != nil {
		return err
	}
	v, err := m.top()
	if err != nil {
		return err
	}
	switch v.(type) {
	case *dict, marker:
		return nil
	}
	return fmt.Errorf("sets attributes of %s", describe(v))
}
