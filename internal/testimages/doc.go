// Package testimages draws small deterministic images for tests and holds the
// golden files of the image pipeline.
//
// JPEG, PNG and GIF are drawn by package pictures; WebP, which Go cannot write, and
// everything exotic comes from golden/, which make_goldens.py draws together
// with what Pillow makes of each file ([Expected]). [Hostile] gives files that
// cost a careless decoder its process. Nothing here is a picture from
// elsewhere, and only tests import it.
package testimages
