// Everything between a Gaussian's parameters and its ellipse and colour in an image, and the derivatives.
#pragma once

#include "camera.h"
#include "ewa.h"
#include "sh.h"
#include "view.h"
