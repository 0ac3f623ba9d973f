"""Make magnitudes.tsv: the spaces of torchvision's policies.

    python make-magnitudes.py > magnitudes.tsv

Lines "space NAME OP TWO_WAYS SIZE VALUE...": what each operation of a policy may
do to a picture of SIZE; "pair OP P J OP P J": AutoAugment's for ImageNet. Two of
the fp32 numbers are a bit off the plain formula: torch fuses their products.
"""
import torchvision
from torchvision.transforms import autoaugment as A

if __name__ == "__main__":
    print("# made by make-magnitudes.py with torchvision",
          torchvision.__version__)
    for size in (64, 176, 224):
        dims = (size, size)
        for name, space in (
                ("wide", A.TrivialAugmentWide()._augmentation_space(31)),
                ("rand", A.RandAugment()._augmentation_space(31, dims)),
                ("auto", A.AutoAugment()._augmentation_space(10, dims))):
            for op, (values, signed) in space.items():
                values = [repr(float(v)) for v in values.reshape(-1)]
                print("space", name, op, int(signed), size, *values, sep="\t")
    for a, b in A.AutoAugment().policies:
        print("pair", *[0 if v is None else v for v in a + b], sep="\t")
