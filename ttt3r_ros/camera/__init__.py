"""From the camera's image to the network's input: formats, calibration, undistortion, resampling, focal length."""
