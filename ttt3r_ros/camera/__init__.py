"""From a camera's image to the network's: formats, calibration, undistortion, resampling, focal length."""
