

class TritonPythonModel(TritonPythonModel):  # noqa: F811 - appended to a copy of the image encoder's model.py
    """The image encoder, whose process ends when the first pixel of an image is (1, 2, 3)."""

    def execute(self, requests):
        for request in requests:
            pixels = pb_utils.get_input_tensor_by_name(request, "pixels").as_numpy()
            if (pixels[:, 0, 0] == (1, 2, 3)).all(axis=1).any():
                os._exit(9)
        return super().execute(requests)
