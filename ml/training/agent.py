"""torch's elastic agent (torchrun), ending with its launcher: `python -m ml.training.agent PARENT ARGUMENTS...`"""

import sys

from ml.training.processes import exit_with_parent

if __name__ == "__main__":
    exit_with_parent(int(sys.argv[1]))
    from torch.distributed.run import main

    main(sys.argv[2:])
