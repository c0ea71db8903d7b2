package cli

import "path/filepath"

// DefaultEncoder returns the folder of the encoder that is served unless a
// setting says otherwise.
func DefaultEncoder() string { return filepath.Join(ProjectFolder(), "encoders", "clip-vit-b-16") }

// BuiltModels returns the model repository that agiqa models writes.
func BuiltModels() string { return filepath.Join(ProjectFolder(), ".cache", "models") }

// DownloadedWeights returns the folder that make models downloads to.
func DownloadedWeights() string { return filepath.Join(ProjectFolder(), ".cache", "weights") }
