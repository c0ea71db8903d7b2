package torchfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

const opStop = '.'

// opcode is one instruction. One without run is known and refused.
type opcode struct {
	name string
	run  func(*machine) error
}

// opcodes are those of protocols 2 to 4 that torch.save writes, and the names
// of the others, from Python's pickletools.
var opcodes = [256]opcode{
	0x80: {"PROTO", protocol},
	0x95: {"FRAME", frame},
	'.':  {"STOP", stop},
	'(':  {"MARK", mark},

	'N':  {"NONE", func(m *machine) error { m.push(none{}); return nil }},
	0x88: {"NEWTRUE", func(m *machine) error { m.push(true); return nil }},
	0x89: {"NEWFALSE", func(m *machine) error { m.push(false); return nil }},
	'K':  {"BININT1", func(m *machine) error { return integer(m, 1) }},
	'M':  {"BININT2", func(m *machine) error { return integer(m, 2) }},
	'J':  {"BININT", func(m *machine) error { return integer(m, 4) }},
	0x8a: {"LONG1", long},
	'G':  {"BINFLOAT", float},

	'X':  {"BINUNICODE", func(m *machine) error { return text(m, 4) }},
	0x8c: {"SHORT_BINUNICODE", func(m *machine) error { return text(m, 1) }},
	'B':  {"BINBYTES", func(m *machine) error { return pushBytes(m, 4) }},
	'C':  {"SHORT_BINBYTES", func(m *machine) error { return pushBytes(m, 1) }},

	')':  {"EMPTY_TUPLE", func(m *machine) error { m.push(tuple{}); return nil }},
	0x85: {"TUPLE1", func(m *machine) error { return m.popTuple(1) }},
	0x86: {"TUPLE2", func(m *machine) error { return m.popTuple(2) }},
	0x87: {"TUPLE3", func(m *machine) error { return m.popTuple(3) }},
	't':  {"TUPLE", func(m *machine) error { return collect(m, func(v []any) error { m.push(tuple(v)); return nil }) }},
	']':  {"EMPTY_LIST", func(m *machine) error { m.push(&list{}); return nil }},
	'a':  {"APPEND", appendOne},
	'e':  {"APPENDS", func(m *machine) error { return collect(m, func(v []any) error { return m.extend(v...) }) }},
	'}':  {"EMPTY_DICT", func(m *machine) error { m.push(&dict{}); return nil }},
	's':  {"SETITEM", setOne},
	'u':  {"SETITEMS", func(m *machine) error { return collect(m, func(v []any) error { return m.set(v...) }) }},

	'q':  {"BINPUT", func(m *machine) error { return indexed(m, 1, m.remember) }},
	'r':  {"LONG_BINPUT", func(m *machine) error { return indexed(m, 4, m.remember) }},
	0x94: {"MEMOIZE", func(m *machine) error { return m.remember(uint32(len(m.memo))) }},
	'h':  {"BINGET", func(m *machine) error { return indexed(m, 1, m.recall) }},
	'j':  {"LONG_BINGET", func(m *machine) error { return indexed(m, 4, m.recall) }},

	'c':  {"GLOBAL", importLines},
	0x93: {"STACK_GLOBAL", importStack},
	'Q':  {"BINPERSID", persistent},
	'R':  {"REDUCE", (*machine).call},
	0x81: {"NEWOBJ", (*machine).newObject},
	'b':  {"BUILD", (*machine).attributes},

	'I': {name: "INT"}, 'L': {name: "LONG"}, 0x8b: {name: "LONG4"}, 'F': {name: "FLOAT"},
	'S': {name: "STRING"}, 'T': {name: "BINSTRING"}, 'U': {name: "SHORT_BINSTRING"}, 'V': {name: "UNICODE"},
	0x8d: {name: "BINUNICODE8"}, 0x8e: {name: "BINBYTES8"}, 0x96: {name: "BYTEARRAY8"},
	'l': {name: "LIST"}, 'd': {name: "DICT"}, 0x8f: {name: "EMPTY_SET"},
	0x90: {name: "ADDITEMS"}, 0x91: {name: "FROZENSET"},
	'0': {name: "POP"}, '1': {name: "POP_MARK"}, '2': {name: "DUP"}, 'g': {name: "GET"}, 'p': {name: "PUT"},
	'i': {name: "INST"}, 'o': {name: "OBJ"}, 0x92: {name: "NEWOBJ_EX"}, 'P': {name: "PERSID"},
	0x82: {name: "EXT1"}, 0x83: {name: "EXT2"}, 0x84: {name: "EXT4"},
	0x97: {name: "NEXT_BUFFER"}, 0x98: {name: "READONLY_BUFFER"},
}

func protocol(m *machine) error {
	b, err := m.take(1)
	if err == nil && (b[0] < 2 || b[0] > 4) {
		err = fmt.Errorf("protocol %d, 2 to 4 are read", b[0])
	}
	return err
}

// frame passes the length of what follows: the whole pickle is at hand, and
// every opcode checks for itself how much of it is left.
func frame(m *machine) error {
	_, err := m.take(8)
	return err
}

func stop(m *machine) error {
	switch {
	case len(m.marks) != 0:
		return fmt.Errorf("%d marks are open", len(m.marks))
	case len(m.stack) != 1:
		return fmt.Errorf("%d values are left, want 1", len(m.stack))
	case m.at != len(m.code):
		return fmt.Errorf("%d bytes follow", len(m.code)-m.at)
	}
	return nil
}

func mark(m *machine) error {
	if len(m.marks) == m.limits.Depth {
		return fmt.Errorf("more than %d marks are open", m.limits.Depth)
	}
	m.marks = append(m.marks, len(m.stack))
	return nil
}

// integer pushes a little-endian number. One of 4 bytes has a sign, shorter
// ones have none.
func integer(m *machine, size int) error {
	n, err := m.number(size)
	if err != nil {
		return err
	}
	if size == 4 {
		m.push(int64(int32(n)))
	} else {
		m.push(int64(n))
	}
	return nil
}

// number takes an unsigned little-endian number of at most 4 bytes.
func (m *machine) number(size int) (uint32, error) {
	b, err := m.take(size)
	if err != nil {
		return 0, err
	}
	var wide [4]byte
	copy(wide[:], b)
	return binary.LittleEndian.Uint32(wide[:]), nil
}

// long pushes a number in two's complement, of which the first byte is the
// length.
func long(m *machine) error {
	n, err := m.number(1)
	if err != nil {
		return err
	}
	if n > 8 {
		return fmt.Errorf("a number of %d bytes, at most 8 are read", n)
	}
	b, err := m.take(int(n))
	if err != nil {
		return err
	}
	var v uint64
	if n > 0 && b[n-1]&0x80 != 0 {
		v = math.MaxUint64 << (8 * n) // the sign, repeated above the bytes that are there
	}
	for i, x := range b {
		v |= uint64(x) << (8 * i)
	}
	m.push(int64(v))
	return nil
}

func float(m *machine) error {
	b, err := m.take(8)
	if err == nil {
		m.push(math.Float64frombits(binary.BigEndian.Uint64(b))) // the one big-endian number of a pickle
	}
	return err
}

// counted takes a length of size bytes and as many bytes as it says.
func (m *machine) counted(size int) ([]byte, error) {
	n, err := m.number(size)
	if err != nil {
		return nil, err
	}
	if uint64(n) > uint64(len(m.code)-m.at) {
		return nil, fmt.Errorf("%d bytes are wanted, %d are left", n, len(m.code)-m.at)
	}
	return m.take(int(n))
}

func text(m *machine, size int) error {
	b, err := m.counted(size)
	if err != nil {
		return err
	}
	if !utf8.Valid(b) {
		return errors.New("the text is not UTF-8")
	}
	m.push(string(b))
	return nil
}

func pushBytes(m *machine, size int) error {
	b, err := m.counted(size)
	if err == nil {
		m.push(b)
	}
	return err
}

// collect gives what stands above the last mark to use.
func collect(m *machine, use func([]any) error) error {
	items, err := m.sinceMark()
	if err != nil {
		return err
	}
	return use(items)
}

func appendOne(m *machine) error {
	v, err := m.pop()
	if err != nil {
		return err
	}
	return m.extend(v)
}

func setOne(m *machine) error {
	value, err := m.pop()
	if err != nil {
		return err
	}
	key, err := m.pop()
	if err != nil {
		return err
	}
	return m.set(key, value)
}

// indexed reads the index of a memo.
func indexed(m *machine, size int, use func(uint32) error) error {
	n, err := m.number(size)
	if err != nil {
		return err
	}
	return use(n)
}

func importLines(m *machine) error {
	module, err := m.line()
	if err != nil {
		return err
	}
	name, err := m.line()
	if err != nil {
		return err
	}
	return m.pushGlobal(module, name)
}

func importStack(m *machine) error {
	name, err := m.pop()
	if err != nil {
		return err
	}
	module, err := m.pop()
	if err != nil {
		return err
	}
	a, okA := module.(string)
	b, okB := name.(string)
	if !okA || !okB {
		return fmt.Errorf("the name is %s of %s, want two texts", describe(name), describe(module))
	}
	return m.pushGlobal(a, b)
}

func (m *machine) pushGlobal(module, name string) error {
	g, err := m.find(module, name)
	if err == nil {
		m.push(g)
	}
	return err
}

func persistent(m *machine) error {
	id, err := m.pop()
	if err != nil {
		return err
	}
	s, err := m.build.storage(id)
	if err == nil {
		m.push(s)
	}
	return err
}
