package testimages

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"hash/adler32"
	"hash/crc32"
	"io"
)

// WithChecksums returns a PNG with every CRC right, and the Adler-32 where the
// image data is a single chunk of at most 64 KiB of rows; other files are
// returned as they are. Without it a fuzzer's mutation is refused before it
// reaches a decoder.
func WithChecksums(data []byte) []byte {
	const magic, frame = "\x89PNG\r\n\x1a\n", 12
	if !bytes.HasPrefix(data, []byte(magic)) {
		return data
	}
	out := bytes.Clone(data)
	for rest := out[len(magic):]; len(rest) >= frame; {
		n := int64(binary.BigEndian.Uint32(rest))
		if n > int64(len(rest)-frame) {
			break
		}
		body, crc := rest[8:8+n], rest[8+n:]
		if string(rest[4:8]) == "IDAT" {
			repairAdler(body)
		}
		binary.BigEndian.PutUint32(crc, crc32.ChecksumIEEE(rest[4:8+n]))
		rest = crc[4:]
	}
	return out
}

// repairAdler gives a zlib stream that is sound up to there its checksum.
func repairAdler(stream []byte) {
	const most = 64 << 10
	in := bytes.NewReader(stream) // a [io.ByteReader], of which nothing is read ahead
	r, err := zlib.NewReader(in)
	if err != nil {
		return
	}
	sum := adler32.New()
	if _, err := io.CopyN(sum, r, most); errors.Is(err, zlib.ErrChecksum) {
		binary.BigEndian.PutUint32(stream[len(stream)-in.Len()-4:], sum.Sum32())
	}
}
