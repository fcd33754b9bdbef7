/* The eleven functions that TensorRT's Python bindings look up in libnvinfer, libnvinfer_plugin and libnvonnxparser when
   they are imported. Compiled under each of the three names, this file lets the bindings be imported without TensorRT:
   their classes, enums and signatures are complete, and whatever they are asked to make is NULL. */
#include <stddef.h>

#define ANSWERS_NULL(name) \
    void *name(void) { return NULL; }

ANSWERS_NULL(createInferBuilder_INTERNAL)
ANSWERS_NULL(createInferRefitter_INTERNAL)
ANSWERS_NULL(createInferRuntime_INTERNAL)
ANSWERS_NULL(createNvOnnxParserRefitter_INTERNAL)
ANSWERS_NULL(createNvOnnxParser_INTERNAL)
ANSWERS_NULL(getBuilderPluginRegistry)
ANSWERS_NULL(getInferLibVersion)
ANSWERS_NULL(getLogger)
ANSWERS_NULL(getNvOnnxParserVersion)
ANSWERS_NULL(getPluginRegistry)
ANSWERS_NULL(initLibNvInferPlugins)
