"""Where motion comes from: camera, video, Panoptic recording, built-in demo."""
