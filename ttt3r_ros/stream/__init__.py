"""One camera's stream: segments, checks, odometry, covariance, resets, and saving it."""
