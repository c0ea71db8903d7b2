package encoder

// Configurations returns the files that a repository has of the encoder that
// dir's encoder.json describes, apart from its graphs, whether or not it can be
// converted.
func Configurations(dir string) (map[string][]byte, error) {
	f, err := read(dir)
	if err != nil {
		return nil, err
	}
	return f.modelFiles()
}
