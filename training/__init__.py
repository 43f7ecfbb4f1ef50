"""How the packaged small weights are made: data from the synthetic world, the recurrent network unrolled over clips."""
